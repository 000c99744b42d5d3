"""Every draw of every space is a valid configuration, whatever the base; what a space moves is what it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.search.optuna import OptunaSearch

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import dump_config, flatten, parse_config
from hmdc_ray.config.presets import preset
from hmdc_ray.search.spaces import known_spaces, open_space
from tune_spaces import pool_probabilities, smoke
from tune_spaces.fields import member_path


def four_members(**pool: Any) -> RunConfig:
    names = ["convnet", "lenet", "mlp", "alexnet"]
    return parse_config(preset("digits").model_dump() | {"pool": {"members": names, **pool}}, "test")


BASES = {
    "digits": preset("digits"),
    "model-pool": preset("model-pool"),
    "hmdc": preset("hmdc"),
    "pool": preset("pool"),
    "four, two drawn": four_members(active=2),
    "four, main and warm-up": four_members(main="mlp", warmup=3),
    "odd names": parse_config({"pool": {"members": [{"architecture": "mlp", "name": name} for name in ("a.b", "7")]}}, "test"),
}
SPACES = [(base, space) for base in BASES for space in known_spaces()]


@pytest.mark.parametrize(("base", "name"), SPACES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_every_draw_is_valid(base: str, name: str, seed: int) -> None:
    """Validity is the parser's: what a draw gives is written down and read back; and the base is as before."""
    before = dump_config(BASES[base])
    space = open_space(name, BASES[base])
    sample = {path: domain.sample(random_state=seed + place) for place, (path, domain) in enumerate(space.domains.items())}
    config = space.apply(sample)
    assert parse_config(config.model_dump(mode="json"), "drawn") == config
    assert config.evaluation.split == "validation"
    assert dump_config(BASES[base]) == before


@pytest.mark.parametrize(("base", "name"), SPACES)
def test_optuna_takes_the_same_domains(base: str, name: str) -> None:
    domains = open_space(name, BASES[base]).domains
    assert list(OptunaSearch.convert_search_space(dict(domains))) == list(domains)


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


@pytest.mark.parametrize("name", known_spaces())
def test_a_space_moves_only_what_it_names(name: str) -> None:
    base = smoke._small(preset("digits")) if name == "smoke" else preset("digits")
    space = open_space(name, preset("digits"))
    sample = {path: domain.sample(random_state=5) for path, domain in space.domains.items()}
    sample |= {member_path(base, index): "in" for index in range(3) if member_path(base, index) in sample}
    before, after = flatten(base), flatten(space.apply(sample))
    moved = {path for path in before | after if before.get(path) != after.get(path)}
    names = [member.name for member in base.pool.members]
    allowed = {path.replace(f"members.{name}", f"members.{index}") for path in sample for index, name in enumerate(names)}
    allowed |= {"evaluation.split", "pool.main"} | {f"pool.members.{index}.probability" for index in range(3)}
    if name == "distillation":
        allowed |= {path for path in after if path.startswith("evaluation.distillation")} | {"evaluation.distillation"}
    assert moved <= allowed


def test_smoke_cuts_iterations_and_seeds_to_a_fifth() -> None:
    base = preset("pool")
    space = open_space("smoke", base)
    config = space.apply({path: domain.sample(random_state=0) for path, domain in space.domains.items()})
    assert config.schedule.iterations == base.schedule.iterations / 5
    assert config.evaluation.seeds == 1
