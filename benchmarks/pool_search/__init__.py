"""``python -m benchmarks.pool_search``: is a searched pool better than an equal one, on seeds of
its own?"""
