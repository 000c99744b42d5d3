"""``python -m benchmarks.bench``: what a step costs, with the pool as actors and with the same pool
in one process."""
