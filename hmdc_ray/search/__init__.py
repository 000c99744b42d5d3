"""Search for configurations with Ray Tune: see :func:`hmdc_ray.search.search.search`."""
