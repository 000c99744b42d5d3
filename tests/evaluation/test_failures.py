"""Students that fail: the others are kept, the row says why, and what failed can be done again by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from rich.console import Console
from torch import Tensor, nn

from hmdc_ray.cli.evaluation_table import print_evaluation
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError, StudentError
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.earlier import Earlier
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.figures.write import write_figures
from hmdc_ray.models import ImageShape
from hmdc_ray.search.judging import judge as judge_trial
from hmdc_ray.search.without_test_split import WithoutTest

BROKEN: list[BaseException] = []
"""What the user's network raises in training, if anything."""


def own(shape: ImageShape, classes: int) -> nn.Module:
    class Own(nn.Module):
        def forward(self, vectors_BD: Tensor) -> Tensor:
            if self.training and BROKEN:
                raise BROKEN[0]
            return vectors_BD

    return nn.Sequential(nn.Flatten(), Own(), nn.Linear(shape.channels * shape.height * shape.width, classes))


OWN = {"name": "own", "architecture": f"{__name__}:own"}


@pytest.fixture
def broken() -> Iterator[list[BaseException]]:
    BROKEN.append(ValueError("weights have gone\nastray"))
    yield BROKEN
    BROKEN.clear()


class Judge:
    """Evaluates in this process, and notes which students were trained."""

    def __init__(self, data: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._data = data.model_copy(update={"cache": str(cache)})
        self.trained: list[Trial] = []
        train = StudentTrainer.train

        def noted(room: StudentTrainer, network: Any, trial: Trial, *others: Any, **more: Any) -> None:
            self.trained.append(trial)
            train(room, network, trial, *others, **more)

        monkeypatch.setattr(StudentTrainer, "train", noted)

    def config(self, **fields: Any) -> RunConfig:
        evaluation = {"students": ["mlp", OWN], "seeds": 2, "epochs": 2, "baselines": "random", **fields}
        return RunConfig.model_validate({"data": self._data.model_dump(), "evaluation": evaluation})

    def __call__(self, condensed: Any, earlier: Earlier | None = None, **fields: Any) -> Evaluation:
        self.trained.clear()
        told: list[tuple[int, int]] = []
        config = self.config(**fields)
        made = conduct(condensed, config, pool=None, executor=InProcess(), progress=lambda *p: told.append(p), earlier=earlier)
        assert told == [(done, told[0][1]) for done in range(told[0][1] + 1)]
        return made


@pytest.fixture
def judge(three_digits_config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    return Judge(three_digits_config, tmp_path / "cache", monkeypatch)


def written(evaluation: Evaluation, path: Path) -> Earlier:
    evaluation.write(path)
    return Earlier.read(path)


def test_the_row_of_a_broken_network_says_why_and_the_others_are_whole(
    judge: Judge, noise: CondensedSet, broken: list[BaseException], tmp_path: Path
) -> None:
    made = judge(noise, whole_data_epochs=1)
    mlp, failing = made.rows
    assert mlp.problem == "" and None not in (mlp.condensed, mlp.random, mlp.whole_data, mlp.label_robust_score)
    assert (failing.condensed, failing.random, failing.whole_data, failing.label_robust_score) == (None,) * 4
    assert failing.problem == (
        "student 'own' on condensed images, seed 0 of run seed 0: ValueError: weights have gone "
        "(5 more of its trainings failed)"
    )
    assert [(trial.student, trial.images, trial.seed_index) for trial in made.failed] == [
        ("own", images, seed) for images in ("condensed", "random", "whole_data") for seed in (0, 1)
    ]
    assert all("raise BROKEN[0]" in trial.traceback for trial in made.failed)
    content = written(made, tmp_path / "evaluation.json").content
    assert content["rows"][1]["condensed"] is None and content["rows"][1]["problem"] == failing.problem
    with pytest.raises(StudentError, match="weights have gone"):
        made.require_complete()


def test_one_seed_that_fails_leaves_no_summary_but_its_numbers(
    judge: Judge, noise: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean over the seeds that are left would be of those that did well."""
    whole = judge(noise)
    train = StudentTrainer.train

    def once(room: StudentTrainer, network: Any, trial: Trial, *others: Any, **more: Any) -> None:
        if (trial.kind, trial.seed_index, trial.student.name) == ("condensed", 1, "mlp"):
            raise MemoryError
        train(room, network, trial, *others, **more)

    monkeypatch.setattr(StudentTrainer, "train", once)
    made = judge(noise)
    assert made.rows[0].condensed is None and made.rows[0].random == whole.rows[0].random
    assert made.rows[0].problem == "student 'mlp' on condensed images, seed 1 of run seed 0: MemoryError"
    assert made.rows[1] == whole.rows[1]
    assert made.trials[0] == whole.trials[0] and made.trials[0].accuracy is not None


def test_interrupts_are_no_failures_of_students(judge: Judge, noise: CondensedSet, broken: list[BaseException]) -> None:
    broken[0] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        judge(noise)


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


def test_the_teacher_that_failed_takes_its_students_with_it(
    judge: Judge, noise: CondensedSet, broken: list[BaseException]
) -> None:
    made = judge(noise, students=["mlp"], distillation={"teacher": OWN, "temperatures": [2.0]}, baselines="none")
    assert [trial.problem for trial in made.failed] == [
        f"teacher 'own' on condensed images, seed {seed} of run seed 0: ValueError: weights have gone" for seed in (0, 1)
    ]
    assert made.rows[0].temperatures == {"condensed": 2.0}


def test_a_temperature_that_cannot_be_chosen_is_not_guessed(
    judge: Judge, noise: CondensedSet, broken: list[BaseException]
) -> None:
    made = judge(noise, distillation={"teacher": "mlp", "temperatures": [1.0, 4.0]}, baselines="none")
    mlp, failing = made.rows
    assert mlp.condensed is not None and mlp.temperatures is not None
    assert failing.condensed is None and failing.temperatures == {}
    assert [trial.temperature for trial in made.failed] == [None, None]
    assert [trial.kind for trial in judge.trained if trial.student.name == "own"] == ["condensed"] * 4  # none on test images


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


def shown(evaluation: Evaluation) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        print_evaluation(console, evaluation)
    return capture.get()


@pytest.mark.parametrize("students", [["mlp", OWN], [OWN]], ids=["some", "all"])
@pytest.mark.parametrize("several", [False, True])
def test_tables_and_figures_do_with_what_there_is(
    judge: Judge, noise: CondensedSet, broken: list[BaseException], tmp_path: Path, students: list[Any], several: bool
) -> None:
    sets = {"a": noise, "b": replace(noise, images=-noise.images)} if several else {"a": noise}
    made = judge(sets, students=students)
    files = write_figures(made, sets, tmp_path)
    side = {"side_by_side.png"} if several else set()
    assert {path.name for path in files} == side | ({"matrix.png", "gains.png"} if len(students) == 2 else set())
    if several:
        (comparison,) = made.comparison
        assert [each.architecture for each in comparison.architectures] == ["mlp"][: len(students) - 1]
    (line,) = (line for line in shown(made).splitlines() if "│ own " in line)
    assert [cell.strip() for cell in line.strip("│").split("│")][2:] == ["–"] * (5 if several else 4)
    assert made.rows[-1].problem in " ".join(shown(made).split())


def test_a_trial_of_a_search_fails_with_the_students_reason(
    judge: Judge, noise: CondensedSet, three_digits: ImageDataset, broken: list[BaseException]
) -> None:
    config = judge.config(split="validation")
    with pytest.raises(StudentError, match=r"^student 'own' on condensed images, seed 0 .*: ValueError: weights have gone$"):
        judge_trial(noise, config, WithoutTest(three_digits), "cpu")


def test_numbers_of_a_file_are_those_of_the_evaluation(judge: Judge, noise: CondensedSet, tmp_path: Path) -> None:
    made = judge(noise)
    earlier = written(made, tmp_path / "evaluation.json")
    assert earlier.trials == made.trials and earlier.failed == ()
    values = [trial["accuracy"] for trial in json.loads(made.to_json())["trials"]]
    assert made.rows[0].condensed is not None and tuple(values[:2]) == made.rows[0].condensed.values
