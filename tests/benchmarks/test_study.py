"""What the study decides; its runs are those of other tests."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from whole_runs import tiniest

from benchmarks.study.__main__ import study
from benchmarks.study.condensing import Outcome, condense_once
from benchmarks.study.judging import Judged, judge_once
from benchmarks.study.rates import HIGHEST, LOWEST, START, best_rung, next_rung, rate
from benchmarks.study.rows import ALONE, BALANCED, DRAWN_MAX, ROWS, WORK, students, study_config
from benchmarks.study.run import Found, Place, Study, _means
from benchmarks.study.table import Line, Table
from hmdc_ray.cli.console import run_alone
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, EvaluationConfig, RunConfig, StudentConfig
from hmdc_ray.config.io import load_config
from hmdc_ray.errors import InputError
from hmdc_ray.matching.matcher import Matcher

SET = CondensedSet(torch.zeros(10, 1, 16, 16), torch.arange(10), tuple("0123456789"), (0.5,), (0.5,))


def _study(folder: Path, *changes: str, distilled: bool = False) -> Study:
    return Study("digits", None, folder / "study", 2, 1, distilled, [f"data.cache={folder}", *changes], lambda line: None)


def test_rungs_are_one_and_three_times_powers_of_ten() -> None:
    assert [rate(rung) for rung in range(-4, 4)] == [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]


def test_the_grid_grows_until_the_best_is_within() -> None:
    for peak in (-5, -1, 3):
        tried = {rung: -abs(rung - peak) / 10 for rung in START}
        while (rung := next_rung(tried)) is not None:
            assert rung not in tried
            tried[rung] = -abs(rung - peak) / 10
        assert best_rung(tried) == peak
        assert min(tried) < peak < max(tried)


def test_the_grid_ends_where_nothing_is_ever_best() -> None:
    for sign, end in ((1, HIGHEST), (-1, LOWEST)):
        tried = {rung: float(sign * rung) for rung in START}
        while (rung := next_rung(tried)) is not None:
            tried[rung] = float(sign * rung)
        assert best_rung(tried) == end


def test_every_row_gets_its_own_rate_and_equal_work_the_iterations_that_seconds_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _study(tmp_path)
    study.folder.mkdir()
    peaks = {name: peak % 7 - 3 for peak, name in enumerate(study.rows)}

    def learn(places: list[Place], judges: tuple[str, ...]) -> dict[Place, Found]:
        found = {}
        for name, rung, seed in places:
            seconds = {ALONE: 2.0, BALANCED: 9.0, DRAWN_MAX: 3.0}.get(name, 5.0)
            accuracy = 0.5 - abs(rung - peaks[name]) / 100
            judged = {judge: Judged({"mlp": [accuracy]}, {"mlp": [False]}) for judge in judges}
            found[name, rung, seed] = (Outcome(SET, seconds, 1, {}), judged)
        return found

    monkeypatch.setattr(study, "_learn", learn)
    assert study._choose() == peaks
    iterations = {name: study._config((name, 0, 1)).schedule.iterations for name in study.rows}
    assert iterations.pop(WORK) == round(4.5 * iterations[ALONE])
    assert iterations.pop("drawn-max-work") == 3 * iterations[ALONE]
    assert iterations.pop("drawn-run-work") == round(1.8 * iterations[ALONE])
    assert set(iterations.values()) == {iterations[ALONE]}


def test_rows_of_equal_work_are_those_of_equal_steps_with_more_of_them() -> None:
    for row in ROWS.values():
        if row.short is not None:
            assert replace(row, short=None, title="") == replace(ROWS[row.short], title="")


def test_rows_with_mutual_distillation_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    assert [name for name in ROWS if name not in _study(tmp_path).rows] == ["md-untrained", "md-mse", "md-standardised"]
    assert _study(tmp_path, distilled=True).rows == ROWS


def test_students_are_judged_once_and_trainings_that_learn_nothing_are_counted(tmp_path: Path) -> None:
    members = (StudentConfig(architecture="mlp"), StudentConfig(name="still", architecture="mlp", learning_rate=1e-9))
    config = RunConfig(
        data=DataConfig(source="digits", cache=str(tmp_path)),
        evaluation=EvaluationConfig(students=members, seeds=2, epochs=60, split="validation"),
    )
    images = CondensedSet(torch.randn(10, 1, 16, 16), SET.labels, SET.class_names, SET.mean, SET.std)
    judged = judge_once(images, config, tmp_path / "judged.json")
    # Noise teaches nothing about digits, but whether it was learned is another matter.
    assert judged.failed == {"mlp": [False, False], "still": [True, True]}
    written = (tmp_path / "judged.json").stat().st_mtime_ns
    assert judge_once(images, config, tmp_path / "judged.json") == judged
    assert (tmp_path / "judged.json").stat().st_mtime_ns == written
    fewer = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"seeds": 1})})
    assert judge_once(images, fewer, tmp_path / "judged.json").accuracies["mlp"] == judged.accuracies["mlp"][:1]


def test_a_training_that_diverges_counts_as_a_guess_and_as_failed(tmp_path: Path) -> None:
    student = StudentConfig(architecture="mlp", learning_rate=100.0)
    config = RunConfig(
        data=DataConfig(source="digits", cache=str(tmp_path)),
        evaluation=EvaluationConfig(students=(student,), seeds=1, epochs=60, split="validation"),
    )
    huge = CondensedSet(1e30 * torch.randn(10, 1, 16, 16), SET.labels, SET.class_names, SET.mean, SET.std)
    judged = judge_once(huge, config, tmp_path / "judged.json")
    assert judged.accuracies == {"mlp": [0.1]}
    assert judged.failed == {"mlp": [True]}


def test_shares_are_means_over_sets_in_which_a_member_may_not_have_been_drawn() -> None:
    assert _means([{"a": 1.0}, {"a": 0.5, "b": 0.5}], absent=0.0) == {"a": 0.75, "b": 0.25}
    assert _means([{"a": 1.0}, {"a": 0.5, "b": 0.5}]) == {"a": 0.75, "b": 0.5}


def test_the_table_holds_rows_against_equal_work_by_set_and_hides_no_failure() -> None:
    def line(name: str, *values: float) -> Line:
        accuracies = {"convnet": list(values), "mlp": [value / 2 for value in values]}
        return Line(name, name.title(), 0.1, 60, 9.0, {"distillation": 0.25}, {}, accuracies, {"convnet": 0.0, "mlp": 0.5})

    table = Table([line("work", 0.2, 0.6), line("pool", 0.3, 0.7)], against="work", unseen=("mlp",))
    summary, _, by_student = table.markdown().partition("\n\n")
    assert "| Pool | 0.1 | 60 | 9 | 37.5 ± 190.6 (25) | +7.5 ± 0.0 | 25.0 ± 127.1 | +5.0 ± 0.0 | 25.0 | - |" in summary
    assert "| Work | 0.1 | 60 | 9 | 30.0 ± 190.6 (25) | - |" in summary
    assert "| Pool | 50.0 ± 254.1 | 25.0 ± 127.1 (50) |" in by_student
    assert table.to_json()[1]["difference_unseen"] == pytest.approx([0.05, 0.05])


def test_of_the_distilled_rows_two_train_their_aligners() -> None:
    found = {}
    for name, row in ROWS.items():
        config = study_config(row, source="digits", statistics=None, learning_rate=0.1, seed=1, changes=[])
        if config.matching.mutual_distillation:
            found[name] = (config.matching.agreement, config.schedule.aligner_learning_rate > 1e-20)
    assert found == {"md-untrained": ("mse", False), "md-mse": ("mse", True), "md-standardised": ("standardised", True)}


def test_without_data_the_built_in_digits_are_taken_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = []

    def run(study: Study) -> Table:
        sources.append(study.source)
        line = Line("work", "Work", 0.1, 1, 1.0, {}, {}, {"mlp": [0.5, 0.5]}, {"mlp": 0.0})
        return Table([line], against="work", unseen=("mlp",))

    monkeypatch.setattr(Study, "run", run)
    for given, said in (([], True), (["--data", "images"], False)):
        monkeypatch.setattr(sys, "argv", ["study", "--output", str(tmp_path), *given])
        with pytest.raises(SystemExit) as ended:
            run_alone(study)
        assert ended.value.code == 0
        assert ("no --data: the study takes the built-in digits" in capsys.readouterr().out) == said
    assert sources == ["digits", "images"]


def test_no_pool_has_an_unseen_student() -> None:
    members = {member.name for row in ROWS.values() for member in row.pool.members}
    for source in ("digits", "elsewhere"):
        assert len({student.name for student in students(source)} - members) == 2


def test_data_that_a_row_does_not_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'vit': images are .* multiples of patch_size.*: set data\.image_size"):
        _study(tmp_path, "data.image_size=[18, 18]").run()
    assert not (tmp_path / "study").exists()


def test_a_set_is_learned_with_one_class_in_a_call_where_nothing_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes at a time share the memory of a machine; pixels and what is written down
    stay the same."""
    matched: list[tuple[int, ...]] = []
    match = Matcher.match

    def seen(matcher: Matcher, plan: Any, labels: tuple[int, ...], *rest: Any) -> Any:
        matched.append(labels)
        return match(matcher, plan, labels, *rest)

    monkeypatch.setattr(Matcher, "match", seen)
    pool = {"members": [{"architecture": "mlp", "options": {"width": 8}}]}
    found = {}
    for classes in (None, 2):
        schedule = {"iterations": 1, "steps": 1}
        config = tiniest(tmp_path, pool=pool, schedule=schedule, matching={"classes_per_call": classes, "real_batch": 4})
        condensed = condense_once(config, tmp_path / f"{classes}").condensed
        found[classes] = (condensed.images.numpy().tobytes(), list(matched))
        assert load_config(tmp_path / f"{classes}") == config
        matched.clear()
    assert found[None][0] == found[2][0]
    assert sorted(found[None][1]) == [(0,), (1,), (2,)] and len(found[2][1]) == 2
