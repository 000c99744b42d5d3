from __future__ import annotations

from ray import tune

from hmdc_ray.search.outcome import axes_of
from hmdc_ray.search.records import Axis


def test_axes_follow_the_domains() -> None:
    domains = {"a": tune.uniform(0, 1), "b": tune.loguniform(1, 10), "c": tune.choice(["x", "y"]), "d": tune.randint(0, 5)}
    assert axes_of(domains) == [Axis("a", "linear"), Axis("b", "log"), Axis("c", "choice", ("x", "y")), Axis("d", "linear")]
