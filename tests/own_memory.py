"""Memory of the process that runs the tests."""

from __future__ import annotations

import re
from pathlib import Path


def own_bytes() -> int:
    """Of this process, without what a file stands for or other processes share."""
    (kilobytes,) = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)
