"""What the study decides; its runs are those of other tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError, StudentError
from jobs.study import run as module
from jobs.study.condensing import Outcome
from jobs.study.rows import GRID, ROWS
from jobs.study.run import Study

DIVERGES = GRID[-1]


def test_a_rate_from_whose_images_nothing_can_be_learned_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    study = Study("digits", None, tmp_path, 2, 1, [], said.append)
    for name in ROWS:
        for rate in GRID:  # the images hold the rate
            images = torch.full((10, 1, 16, 16), rate)
            condensed = CondensedSet(images, torch.arange(10), tuple("0123456789"), (0.5,), (0.5,))
            study.outcomes[name, rate, 0] = Outcome(condensed, 1.0, 1, {})

    def evaluate(judged: list[CondensedSet], config: Any) -> Any:
        (only,) = judged
        rate = float(only.images[0, 0, 0, 0])

        def require_complete() -> None:
            if rate == DIVERGES:
                raise StudentError("student 'mlp': training diverges")

        summaries = {student.name: SimpleNamespace(mean=rate / 10) for student in config.evaluation.students}
        sets = [SimpleNamespace(summaries=summaries)]
        return SimpleNamespace(sets=sets, write=lambda file: None, require_complete=require_complete)

    monkeypatch.setattr(module, "evaluate", evaluate)
    assert study._choose() == dict.fromkeys(ROWS, GRID[-2])
    assert sum("is out: student 'mlp': training diverges" in line for line in said) == len(ROWS)


def test_shares_are_means_over_sets_in_which_a_member_may_not_have_been_drawn() -> None:
    assert module._mean_shares([{"a": 1.0}, {"a": 0.5, "b": 0.5}]) == {"a": 0.75, "b": 0.25}


def test_data_that_a_row_does_not_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    def study(*changes: str) -> Study:
        return Study("digits", None, tmp_path / "study", 2, 1, [f"data.cache={tmp_path}", *changes], lambda line: None)

    with pytest.raises(InputError, match=r"images are 1x8x8, must be at least .*: set data\.image_size") as caught:
        study("data.image_size=[8, 8]").run()
    assert not (tmp_path / "study").exists()
    size = str(caught.value).rpartition("such as ")[2]
    study(f"data.image_size={size}")._check()
