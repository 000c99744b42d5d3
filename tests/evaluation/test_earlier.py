"""An evaluation written earlier: what failed is done again by itself, and another evaluation is
refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.earlier import Earlier

from .conftest import OWN, Judge, written


@pytest.fixture
def judge(judge: Judge) -> Judge:
    judge.fields |= {"students": ["mlp", OWN], "baselines": "random"}
    return judge


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"distillation": {"teacher": "mlp", "temperatures": [1.0, 4.0]}},
        {"baselines": "both", "augmentation_robust": True, "seeds": 1},
    ],
    ids=["plain", "distilled", "switched"],
)
def test_what_failed_is_done_again_alone_and_completes_the_evaluation(
    judge: Judge, noise: CondensedSet, fields: dict[str, Any], tmp_path: Path, broken: list[BaseException]
) -> None:
    sets = {"a": noise, "b": replace(noise, images=-noise.images)}
    made = judge(sets, **fields)
    earlier = written(made, tmp_path / "evaluation.json")
    broken.clear()

    completed = judge(sets, earlier, **fields)

    assert judge.trained and {trial.student.name for trial in judge.trained} <= {"own", "mlp"}
    alone = [trial for trial in judge.trained if trial.student.name == "mlp" and trial.temperature is not None]
    assert alone == []  # the teacher may be an mlp, a student that did not fail is not trained
    assert completed.failed == ()
    assert completed == judge(sets, **fields)
    judge(sets, written(completed, tmp_path / "evaluation.json"), **fields)
    assert judge.trained == []


def test_another_evaluation_is_refused(judge: Judge, noise: CondensedSet, broken: list[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    earlier = written(judge(noise), path)
    different: list[tuple[dict[str, Any], str]] = [
        ({"protocol": "idc"}, "protocol is 'dc', must be 'idc'"),
        ({"seeds": 3}, "seeds is 2, must be 3"),
        ({"students": [{"architecture": "mlp", "options": {"width": 9}}, OWN]}, "rows is"),
        ({"baselines": "none"}, "list of trials is"),
        ({"distillation": {}}, "distillation is None"),
    ]
    for fields, message in different:
        with pytest.raises(InputError, match=f"^{re.escape(str(path))} is another evaluation: its {message}"):
            judge(noise, earlier, **fields)
    with pytest.raises(InputError, match="its sets is"):
        judge(replace(noise, images=-noise.images), earlier)
    assert judge.trained == []


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"trials": [{"student": "mlp"}]}', '{"trials": 3}'])
def test_what_is_no_evaluation_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))):
        Earlier.read(path)


def test_numbers_of_a_file_are_those_of_the_evaluation(judge: Judge, noise: CondensedSet, tmp_path: Path) -> None:
    made = judge(noise)
    earlier = written(made, tmp_path / "evaluation.json")
    assert earlier.trials == made.trials and earlier.failed == ()
    values = [trial["accuracy"] for trial in json.loads(made.to_json())["trials"]]
    assert made.rows[0].condensed is not None and tuple(values[:2]) == made.rows[0].condensed.values
