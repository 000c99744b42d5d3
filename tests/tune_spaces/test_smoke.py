from __future__ import annotations

from hmdc_ray.config.presets import preset
from hmdc_ray.search.spaces import open_space


def test_smoke_cuts_iterations_and_seeds_to_a_fifth() -> None:
    base = preset("pool")
    space = open_space("smoke", base)
    config = space.apply({path: domain.sample(random_state=0) for path, domain in space.domains.items()})
    assert config.schedule.iterations == base.schedule.iterations / 5
    assert config.evaluation.seeds == 1
