"""``python -m jobs.pretrain ...``: ``hmdc pretrain`` for ``ray job submit`` from a checkout."""

import sys

from hmdc_ray.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["pretrain"]
    main()
