from __future__ import annotations

import pytest
from bases import BASES

from hmdc_ray.config.presets import preset
from hmdc_ray.search.spaces import open_space
from tune_spaces import pool_probabilities
from tune_spaces.fields import member_path


@pytest.mark.parametrize("edge", [pool_probabilities.MARGIN, 1 - pool_probabilities.MARGIN])
@pytest.mark.parametrize("base", ["four, two drawn", "pool", "model-pool"])
def test_the_ends_of_the_coordinates_are_valid_too(base: str, edge: float) -> None:
    space = open_space("pool_probabilities", BASES[base])
    sample = {
        path: edge if path.endswith(".probability") else domain.sample(random_state=1) for path, domain in space.domains.items()
    }
    assert min(space.apply(sample).pool.probabilities) > 0


def test_what_the_base_draws_is_kept() -> None:
    base = BASES["four, two drawn"]
    space = open_space("pool_probabilities", base)
    assert "pool.active" not in space.domains
    everybody_out = {path: "out" if path.count(".") == 2 else 0.5 for path in space.domains}
    pool = space.apply(everybody_out).pool
    assert pool.active == 2 and len(pool.members) == 2
    assert pool.members[0].name == "convnet" == pool.main


def test_the_main_member_is_never_left_out() -> None:
    base = BASES["four, main and warm-up"]
    domains = pool_probabilities.space(base)
    assert member_path(base, 2) not in domains and member_path(base, 0) in domains
    assert "pool.warmup" in domains


def test_members_that_are_left_out_leave_their_probability_to_the_others() -> None:
    base = preset("digits")
    coordinates = {member_path(base, index, "probability"): 0.5 for index in range(2)}
    sample = {**coordinates, "pool.active": 3, "pool.members.vit": "out", "pool.members.lenet": "in"}
    whole = pool_probabilities.apply(base, {**sample, "pool.members.vit": "in"}).pool
    pool = pool_probabilities.apply(base, sample).pool
    assert [member.name for member in pool.members] == ["convnet", "lenet"]
    assert pool.drawn == 2
    assert pool.probabilities[0] / pool.probabilities[1] == pytest.approx(whole.probabilities[0] / whole.probabilities[2])
