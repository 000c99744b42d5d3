"""In processes of their own: the setting cannot be taken back."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from hmdc_ray.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def tensors():
    for _ in range(20):
        first = torch.ones(2**24)  # 64 MiB
        second = first * 2
        del first, second

tensors()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tensors()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True, timeout=200)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not the GNU C library")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    plain, kept = page_faults("plain"), page_faults("kept")
    assert plain > 1000
    assert kept < plain / 20
