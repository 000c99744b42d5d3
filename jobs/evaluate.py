"""``python -m jobs.evaluate ...``: ``hmdc evaluate`` for ``ray job submit`` from a checkout."""

import sys

from hmdc_ray.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["evaluate"]
    main()
