"""Operations and bytes counted against counts by hand, and gradients compared."""

from __future__ import annotations

from hmdc_ray.profiling.floor import Floor
from hmdc_ray.profiling.operations import Count


def test_a_step_is_held_against_the_rates_around_it() -> None:
    floor = Floor({"aten.mm": Count(1, 100, 0, 30.0, 0.0)}, 5.0, (99.0, 10.0, 20.0, 40.0, 50.0), 1.0)
    assert floor.multiples([2.0, 3.0]) == [2.0 * 15 / 100, 3.0 * 30 / 100]
    assert floor.plain_multiple == 2.5
    assert floor.seconds == 2.5
    assert floor.roofline == 30.0
