"""``python -m jobs.pool_search``: is a searched pool better than equal probabilities and unit weights, on seeds of its own?"""
