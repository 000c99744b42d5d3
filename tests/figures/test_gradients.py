import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D

from hmdc_ray.errors import InputError
from hmdc_ray.figures.gradients import POINTS, gradient_magnitudes, read_magnitudes, thin


def record(step: int, **targets: tuple[float, float]) -> dict[str, Any]:
    """A line of metrics: by target the largest entry and the weight."""
    made: dict[str, Any] = {"step": step, "iteration": 0, "seconds/step": 1.0, "gradient/norm_convnet": 9.0}
    for name, (largest, weight) in targets.items():
        made |= {f"gradient/largest_{name}": largest, f"gbm/weight_{name}": weight}
    return made


def write(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def test_after_balancing_is_the_product_with_the_weight(tmp_path: Path) -> None:
    path = write(tmp_path, record(1, convnet=(0.5, 1.0), vit=(8.0, 0.1)), record(2, convnet=(0.4, 1.0), vit=(6.0, 0.05)))

    read = read_magnitudes(path)

    assert {name: values.tolist() for name, values in read.before.items()} == {"convnet": [0.5, 0.4], "vit": [8.0, 6.0]}
    assert read.after["vit"].tolist() == pytest.approx([0.8, 0.3])
    assert read.after["convnet"].tolist() == [0.5, 0.4]


def test_a_target_that_was_not_drawn_or_left_out_has_gaps(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        record(1, convnet=(0.5, 1.0)),
        record(2, convnet=(0.0, 0.0), random_convnet=(0.25, 2.0)),
        record(4, convnet=(math.inf, 1.0), random_convnet=(math.nan, 1.0)),
    )

    read = read_magnitudes(path)

    np.testing.assert_array_equal(read.before["convnet"], [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(read.after["random_convnet"], [np.nan, 0.5, np.nan, np.nan])


def test_of_a_step_that_was_done_again_the_last_record_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path, *(record(step, convnet=(value, 1.0)) for step, value in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4), (3, 0.5)))
    )
    with path.open("a") as file:
        file.write('{"step":4,"gradient/lar')  # torn by a crash

    assert read_magnitudes(path).before["convnet"].tolist() == [0.1, 0.4, 0.5]


def test_short_runs_are_not_thinned() -> None:
    values = np.linspace(1.0, 2.0, POINTS)

    steps, median, least, greatest = thin(values)

    np.testing.assert_array_equal(steps, np.arange(1, POINTS + 1))
    for part in (median, least, greatest):
        np.testing.assert_array_equal(part, values)


def test_long_runs_are_thinned_to_median_and_range() -> None:
    values = np.arange(1.0, 3 * POINTS)  # the last place has two steps
    values[:3] = np.nan
    values[4] = np.nan

    steps, median, least, greatest = thin(values)

    assert len(steps) == POINTS
    assert steps[:3].tolist() == [2, 5, 8] and steps[-1] == 3 * POINTS - 1.5
    assert np.isnan([median[0], least[0], greatest[0]]).all()
    assert (median[1], least[1], greatest[1]) == (5, 4, 6)
    assert median[-1] == 3 * POINTS - 1.5


def shown(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata()) if np.isfinite(value)]


def test_panels_show_both_on_one_logarithmic_axis(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        record(1, convnet=(0.5, 1.0), distillation=(0.001, 400.0)),
        record(2, convnet=(0.4, 1.0), distillation=(0.002, 300.0)),
    )

    figure = gradient_magnitudes(path)

    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("before balancing", "after balancing")
    assert left.get_yscale() == right.get_yscale() == "log" and left.get_ylim() == right.get_ylim()
    lines = [[shown(line) for line in axes.get_lines() if shown(line)] for axes in (left, right)]
    assert lines == [[[0.5, 0.4], [0.001, 0.002]], [[0.5, 0.4], [pytest.approx(0.4), pytest.approx(0.6)]]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["convnet", "distillation"]
    styles = [(line.get_color(), line.get_linestyle()) for line in legend.get_lines()]
    assert styles[0][0] != styles[1][0] and styles[0][1] != styles[1][1]


def test_a_step_between_two_gaps_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path, *(record(step, **{"rare" if step == 3 else "convnet": (0.1 * step, 1.0)}) for step in range(1, 6)))

    axes = gradient_magnitudes(path).axes[0]

    dots = [shown(line) for line in axes.get_lines() if line.get_marker() == "o" and shown(line)]
    assert dots == [[pytest.approx(0.3)]]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ((), r"metrics\.jsonl holds no 'gradient/largest_NAME'"),
        (({"step": 1, "loss/mlp": 2.0},), r"metrics\.jsonl holds no 'gradient/largest_NAME'"),
        (({"gradient/largest_mlp": 2.0},), r"metrics\.jsonl has a record of step None: must be a whole number from 1"),
        (({"step": 0, "gradient/largest_mlp": 2.0},), r"record of step 0: must"),
    ],
)
def test_what_is_not_a_runs_metrics_is_refused(tmp_path: Path, records: tuple[dict[str, Any], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gradient_magnitudes(write(tmp_path, *records))


@pytest.mark.filterwarnings("error")
def test_a_run_without_any_usable_gradient_still_has_a_figure(tmp_path: Path) -> None:
    figure = gradient_magnitudes(write(tmp_path, record(1, convnet=(0.0, 0.0))))

    assert [shown(line) for axes in figure.axes for line in axes.get_lines()] == [[]] * 4
