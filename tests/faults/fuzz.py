"""What the fuzz tests share: how many cases, spoilt bytes, odd values, and the property that all
readers have."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hmdc_ray.errors import InputError

TARGETS = 8
CASES = int(os.environ.get("HMDC_FUZZ_CASES", "200"))
"""Of all targets together; ``HMDC_FUZZ_CASES=5000`` for the long mode, whose cases differ each
time."""

MEMORY = 512 << 20
"""Bytes that reading one file may take: the files have a few kilobytes."""

SECONDS = 60
LONGEST_LINE = 20_000

fuzz = settings(
    max_examples=max(1, CASES // TARGETS),
    deadline=timedelta(seconds=SECONDS),  # against hangs; a loaded machine must not matter
    derandomize="HMDC_FUZZ_CASES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

ODD_TEXTS = ("", " ", "\x00", "\n", "é", "\ud800", "../x", "/etc/passwd", "a" * 5000, "%s%n", "{}", "null", "1e999", "-0")
ODD_NUMBERS = (0, -1, 1, 2, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64, 10**400, 0.5, -0.0, 1e308, 5e-324)
NOT_FINITE = (float("nan"), float("inf"), -float("inf"))
EXTREMES = [value.to_bytes(8, "little") for value in (0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)]


def plain_values() -> st.SearchStrategy[Any]:
    """Anything that JSON or YAML can say, odd values first."""
    leaves = st.sampled_from([*ODD_TEXTS, *ODD_NUMBERS, None, True, False]) | st.integers() | st.text(max_size=20)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    )


@st.composite
def spoilt(draw: st.DrawFn, base: bytes) -> bytes:
    """The bytes with some of them flipped, replaced, cut off, left out, doubled, or overwritten by
    extreme numbers."""
    data = bytearray(base)
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        # Headers and footers decide how much memory is taken: half of the places lie within them.
        near = draw(st.integers(0, min(len(data), 400) - 1))
        at = draw(st.sampled_from([near, len(data) - 1 - near])) if draw(st.booleans()) else draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["flip", "set", "extreme", "cut", "drop", "double"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at] = draw(st.integers(0, 255))
            case "extreme":
                extreme = draw(st.sampled_from(EXTREMES))[: draw(st.sampled_from([2, 4, 8]))]
                data[at : at + len(extreme)] = extreme
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 64))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


def reads_or_refuses(read: Callable[[], object]) -> None:
    """The property: what a stranger wrote is read, or refused in one line, without more memory than
    the bound."""
    before = _reset_peak()
    try:
        read()
    except InputError as error:
        line = str(error)
        assert line and "\n" not in line and len(line) < LONGEST_LINE, line[:200]
    taken = _memory("VmHWM") - before
    assert taken < MEMORY, f"{taken:,} bytes of memory were taken"


def _reset_peak() -> int:
    """Let the kernel forget the largest memory of this process; returns what it takes now.

    Where the kernel does not let us, the largest so far: then only what goes beyond it is seen.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _memory("VmHWM")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
