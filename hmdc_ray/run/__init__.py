"""A run from its configuration to its results: the round loop, the folder, resuming, status."""
