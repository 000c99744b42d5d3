"""Facts about a data set survive being written."""

from __future__ import annotations

from pathlib import Path

from data.dataset_files import opened
from hmdc_ray.data.schema import DatasetInfo


def test_info_survives_json(tmp_path: Path) -> None:
    info = opened(tmp_path, "digits").info
    assert DatasetInfo.from_json(info.to_json()) == info
