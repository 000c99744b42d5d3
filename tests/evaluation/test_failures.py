"""Students that fail: the others are kept, the row says why, and what failed can be done again by
itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hmdc_ray.cli.evaluation_table import print_evaluation
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import StudentError
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.figures.write import write_figures
from hmdc_ray.search.judging import judge as judge_trial
from hmdc_ray.search.without_test_split import WithoutTest

from .conftest import OWN, Judge, written


@pytest.fixture
def judge(judge: Judge) -> Judge:
    judge.fields |= {"students": ["mlp", OWN], "baselines": "random"}
    return judge


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

    def never(*_: Any) -> None:
        raise MemoryError

    def once(room: StudentTrainer, network: Any, trial: Trial, *others: Any, **more: Any) -> None:
        if (trial.kind, trial.seed_index, trial.student.name) == ("condensed", 1, "mlp"):
            raise MemoryError
        train(room, network, trial, *others, **more)

    monkeypatch.setattr(StudentTrainer, "train_together", never)  # each is tried by itself
    monkeypatch.setattr(StudentTrainer, "train", once)
    made = judge(noise)
    assert made.rows[0].condensed is None and made.rows[0].random == whole.rows[0].random
    assert made.rows[0].problem == "student 'mlp' on condensed images, seed 1 of run seed 0: MemoryError"
    assert made.rows[1] == whole.rows[1]
    assert made.trials[0] == whole.trials[0] and made.trials[0].accuracy is not None


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
