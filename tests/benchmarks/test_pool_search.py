"""The study's space and its numbers, on accuracies made by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.pool_search.__main__ import pool_search
from benchmarks.pool_search.study import SEARCHED, SPACE, UNIFORM, PoolSearchStudy, _differences, _markdown, base_config
from hmdc_ray.cli.console import run_alone
from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.search.spaces import open_space


def test_the_base_draws_two_of_four_with_equal_probabilities_and_unit_weights() -> None:
    base = base_config(["schedule.iterations=7"])
    assert base.pool.drawn == 2 and base.pool.probabilities == (0.25,) * 4
    assert [member.loss_weight for member in base.pool.members] == [1.0] * 4
    assert base.schedule.iterations == 7


def test_without_data_the_built_in_digits_are_taken_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = []

    def run(study: PoolSearchStudy) -> None:
        sources.append(study.base.data.source)
        (tmp_path / "table.md").write_text("the table\n")

    monkeypatch.setattr(PoolSearchStudy, "run", run)
    monkeypatch.chdir(tmp_path)
    for given, said in (([], True), (["--data", "images"], False)):
        monkeypatch.setattr(sys, "argv", ["pool_search", "--output", str(tmp_path), *given])
        with pytest.raises(SystemExit) as ended:
            run_alone(pool_search)
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        assert ("no --data: the study takes the built-in digits" in printed) == said and "the table" in printed
    assert sources == ["digits", str(tmp_path / "images")]


def test_data_that_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["pool_search", "--output", str(tmp_path / "study"), "--data", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        run_alone(pool_search)
    assert ended.value.code == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_the_space_moves_probabilities_and_weights_and_keeps_two_drawn() -> None:
    base = base_config([])
    space = open_space(SPACE, base)
    assert {path.rpartition(".")[2] for path in space.domains} >= {"probability", "loss_weight", "distillation_weight", "mode"}
    assert "pool.active" not in space.domains
    for seed in range(20):
        sample = {path: domain.sample(random_state=seed + place) for place, (path, domain) in enumerate(space.domains.items())}
        assert space.apply(sample).pool.active == 2


def test_differences_are_paired_by_seed() -> None:
    on_test = {
        SEARCHED: [{"mlp": 0.7, "vit": 0.5}, {"mlp": 0.8, "vit": 0.6}],
        UNIFORM: [{"mlp": 0.6, "vit": 0.5}, {"mlp": 0.6, "vit": 0.7}],
    }
    found = _differences(on_test)
    assert found["mlp"].values == pytest.approx((0.1, 0.2))
    assert found["vit"].values == pytest.approx((0.0, -0.1))
    assert found["mean"].values == pytest.approx((0.05, 0.05))
    text = _markdown(on_test, 0.66, summarise_values([0.6, 0.64]))
    assert "| difference, points | 15.0 ± 63.5 | -5.0 ± 63.5 | 5.0 ± 0.0 |" in text
    assert "66.0 % for the best of the search; for the uniform pool 62.0 % on average and 64.0 % at best of 2 seeds" in text
