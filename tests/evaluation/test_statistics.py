import pytest

from hmdc_ray.evaluation.statistics import summarise_values


def test_interval_is_students_t() -> None:
    summary = summarise_values([0.2, 0.3, 0.4])

    assert summary.mean == pytest.approx(0.3)
    assert summary.std == pytest.approx(0.1)
    # t(0.975, 2) = 4.302653 from printed tables; half = t s / sqrt(3)
    assert summary.high - summary.mean == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)
    assert summary.mean - summary.low == pytest.approx(summary.high - summary.mean)
    assert summary.half_interval == pytest.approx(summary.high - summary.mean)
    assert summary.values == (0.2, 0.3, 0.4)


def test_one_value_has_no_interval() -> None:
    summary = summarise_values([0.25])

    assert (summary.mean, summary.std, summary.low, summary.high) == (0.25, 0.0, 0.25, 0.25)
    assert summary.half_interval is None


def test_equal_values_have_an_interval_of_length_zero() -> None:
    assert summarise_values([0.5, 0.5]).half_interval == 0.0
