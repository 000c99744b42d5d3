from __future__ import annotations

from pathlib import Path

from hmdc_ray.profiling.process import process_use


def test_a_process_holds_no_data_outside_the_folder(tmp_path: Path) -> None:
    before, after = process_use(None, tmp_path), process_use(None, tmp_path)
    assert before.data_resident_bytes == 0
    # Not that the peak never falls: the kernel adds up the pages of several processors' counters
    # only now and then.
    assert min(before.peak_bytes, after.peak_bytes) > 100e6  # this process has imported torch
    assert after.cpu_seconds >= before.cpu_seconds > 0
