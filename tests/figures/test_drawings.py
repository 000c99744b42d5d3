import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.figures.bars import bars, gain
from hmdc_ray.figures.canvas import colours, luminance, shortened, wrapped
from hmdc_ray.figures.matrix import matrix


def test_gain_is_paired_where_both_have_the_same_seeds() -> None:
    paired = gain(summarise_values([0.5, 0.7]), summarise_values([0.25, 0.5]))
    other = gain(summarise_values([0.5, 0.7]), summarise_values([0.25, 0.5, 0.45]))

    assert paired.values == pytest.approx((0.25, 0.2)) and paired.half_interval is not None
    assert other.values == pytest.approx((0.2,)) and other.half_interval is None


@pytest.mark.filterwarnings("error")
def test_what_a_row_lacks_is_an_empty_cell() -> None:
    value = summarise_values([0.5])
    figure = matrix([("a", {"mlp": value}), ("b", {"mlp": value, "vit": value})], (), "", title="all alike")

    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    assert [text.get_text() for text in figure.axes[0].texts] == ["50.0", "–", "50.0", "50.0"]


def test_what_a_series_lacks_is_no_bar() -> None:
    value = summarise_values([0.1])
    axes = bars([("a", {"mlp": value}), ("b", {"vit": value, "mlp": value})], ("vit",), "here", title="", axis="").axes[0]

    assert [len(container) for container in axes.containers if hasattr(container, "patches")] == [1, 2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["mlp", "vit •"]


@pytest.mark.parametrize("count", [1, 2, 11])
def test_colours_differ_in_lightness(count: int) -> None:
    steps = np.diff(luminance(colours(count)))

    assert len(steps) == count - 1 and (steps > 0.01).all()
    assert luminance((1, 1, 1)) == pytest.approx(1) and luminance((0, 0, 0, 1)) == 0


def test_long_names_are_cut_and_wrapped() -> None:
    assert len(shortened("x" * 100)) == 40 and shortened("x" * 100).endswith("…")
    assert shortened(" two\n words ") == "two words"
    assert wrapped("pool + GBM + MD", 10) == "pool + GBM\n+ MD"
