"""An evaluation's notes: what was taken for granted is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from whole_runs import without_ray

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.run.evaluate import evaluate
from hmdc_ray.run.progress import Silent


@pytest.mark.parametrize("by_data", [False, True])
def test_what_is_taken_for_mnist_is_told(
    by_data: bool,
    three_digits: ImageDataset,
    three_digits_config: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Noting(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    info, images = three_digits.info, torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, std = (info.mean, info.std) if by_data else ((0.1307,), (0.3081,))
    condensed = CondensedSet(images, torch.arange(3), info.class_names, mean, std)
    without_ray(monkeypatch)

    def notes(**fields: Any) -> list[str]:
        told, cache = Noting(), {"cache": str(tmp_path / "cache"), "statistics": "mnist" if by_data else None}
        sections = {"data": three_digits_config.model_dump() | cache, "evaluation": {"students": ["mlp"], "seeds": 1, **fields}}
        evaluate(condensed, RunConfig.model_validate(sections), progress=told)
        return told.notes

    (note,) = notes(baselines="none", epochs=3)
    assert note.startswith("MNIST by its statistics: protocol dc trains 3 epochs with crop, sca")
    assert notes(baselines="none", epochs=2, augmentation=False) == notes(baselines="none", epochs=2, protocol="idc") == []
