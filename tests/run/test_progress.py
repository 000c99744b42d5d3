"""The progress of a run: nobody needs to listen, and the data is read with its progress told."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest
from whole_runs import tiniest

from hmdc_ray.run.progress import Progress, Silent, load_dataset_info
from hmdc_ray.system.signals import Interrupted, StopRequest


def test_silence() -> None:
    progress: Progress = Silent()
    nothing: Mapping[str, int] = {}
    progress.stage("reading data")
    progress.images_decoded(5, 10)
    progress.step(1, 40, {"seconds/step": 0.5}, nothing)
    progress.trial(1, 2)
    progress.result(Mock())


def test_reading_is_told_and_stops_between_images(tmp_path: Path) -> None:
    config = tiniest(tmp_path)
    told, stop = Mock(spec=Silent), StopRequest()
    stop.signal_number = signal.SIGTERM
    with pytest.raises(Interrupted):
        load_dataset_info(config, told, stop)
    told.stage.assert_called_once_with("reading data")
    told.data.assert_not_called()
    stop.signal_number = None
    info = load_dataset_info(config, told, stop)
    told.data.assert_called_once_with(info)
    done, total = told.images_decoded.call_args.args
    assert done == total == sum(info.sizes.values())
