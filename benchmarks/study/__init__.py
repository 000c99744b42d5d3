"""``python -m benchmarks.study``: does variety in the pool help, and what do balancing and
distillation add to it?"""
