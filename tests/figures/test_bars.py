import pytest

from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.figures.bars import bars, gain


def test_gain_is_paired_where_both_have_the_same_seeds() -> None:
    paired = gain(summarise_values([0.5, 0.7]), summarise_values([0.25, 0.5]))
    other = gain(summarise_values([0.5, 0.7]), summarise_values([0.25, 0.5, 0.45]))

    assert paired.values == pytest.approx((0.25, 0.2)) and paired.half_interval is not None
    assert other.values == pytest.approx((0.2,)) and other.half_interval is None


def test_what_a_series_lacks_is_no_bar() -> None:
    value = summarise_values([0.1])
    axes = bars([("a", {"mlp": value}), ("b", {"vit": value, "mlp": value})], ("vit",), "here", title="", axis="").axes[0]

    assert [len(container) for container in axes.containers if hasattr(container, "patches")] == [1, 2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["mlp", "vit •"]
