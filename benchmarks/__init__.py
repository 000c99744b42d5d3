"""Programs that measure; not installed."""
