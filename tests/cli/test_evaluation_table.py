"""The tables of an evaluation, in a pipe and on terminals of every width."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hmdc_ray.cli.evaluation_table import tables
from hmdc_ray.evaluation.report import Row
from hmdc_ray.evaluation.statistics import summarise_values

from .results import LONG_RUNS, STUDENTS, columns, evaluation, printed


def test_all_numbers_of_a_packed_set_reach_a_pipe_in_one_table() -> None:
    found = columns(printed(tables(evaluation(("condensed",))), None))
    assert list(found) == [
        "architecture",
        "in pool",
        "random",
        "k-means",
        "random ×4",
        "k-means ×4",
        "whole data",
        "condensed",
        "gain",
    ]
    assert found["architecture"] == [*STUDENTS, "mean"]
    assert found["in pool"] == ["yes", "no", "no", ""]
    assert found["condensed"] == ["33.2 ± 6.7", "43.2 ± 6.7", "53.2 ± 6.7", "43.2"]
    assert found["gain"] == ["+9.0"] * 4


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("whole_data", [True, False])
def test_a_terminal_shows_the_same_numbers_as_a_pipe(width: int, whole_data: bool) -> None:
    made = tables(evaluation(("condensed",), whole_data=whole_data))
    assert columns(printed(made, width)) == columns(printed(made, None))


@pytest.mark.parametrize("width", [100, 120, 200])
def test_several_sets_with_long_names_and_their_comparisons_are_whole(width: int) -> None:
    for table in tables(evaluation(LONG_RUNS)):
        whole = columns(printed([table], None))
        assert columns(printed([table], width)) == whole
    assert set(LONG_RUNS) <= set(columns(printed(tables(evaluation(LONG_RUNS))[:1], None)))


def test_names_that_look_like_markup_are_shown() -> None:
    text = printed(tables(evaluation(("lr[red]", "b[/]"))), None)
    assert "lr[red]" in text and "b[/] against lr[red]" in text and "mlp[wide]" in text


def test_other_sets_are_compared_with_the_first_in_points() -> None:
    found = columns(printed(tables(evaluation(("a", "b")))[1:], None))
    assert list(found) == ["architecture", "difference", "interval", "p", "significant"]
    assert found["architecture"] == [*STUDENTS]
    means = [100 * (0.31 + 0.1 * place + 0.013 * (0 + 1 + 4) / 3) for place in range(3)]
    assert found["difference"] == [f"{100 * (0.5 + 0.61 + 0.67) / 3 - mean:+.1f}" for mean in means]


def test_one_seed_without_baselines() -> None:
    one = summarise_values([0.6])
    rows = tuple(Row(name, None, one, None, None, {}) for name in STUDENTS)
    text = printed(tables(replace(evaluation(("condensed",)), rows=rows, seeds=1)), None)
    found = columns(text)
    assert found["condensed"] == ["60.0"] * 4 and found["in pool"] == ["?"] * 3 + [""]
    assert found["random"] == found["k-means"] == found["gain"] == ["–"] * 4
    assert "one seed" in text and "±" not in text and "gain in points" not in text
