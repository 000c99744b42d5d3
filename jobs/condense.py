"""Entry point for ``ray job submit -- python -m jobs.condense ...``: the same arguments as ``hmdc condense``."""

from __future__ import annotations

import sys

from jobs.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["condense"]
    main()
