from __future__ import annotations

from hmdc_ray.profiling.rates import bandwidth, matrix_rate


def test_rates_are_those_of_a_processor() -> None:
    assert 1e8 < matrix_rate(1) < 1e14
    assert 1e8 < bandwidth(1) < 1e13
