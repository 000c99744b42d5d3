"""Every draw of every space is a valid configuration, whatever the base; what a space moves is what
it says."""

from __future__ import annotations

import pytest
from bases import BASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.search.optuna import OptunaSearch

from hmdc_ray.config.io import dump_config, flatten, parse_config
from hmdc_ray.config.presets import preset
from hmdc_ray.search.spaces import known_spaces, open_space
from tune_spaces import smoke
from tune_spaces.fields import member_path

SPACES = [(base, space) for base in BASES for space in known_spaces()]


@pytest.mark.parametrize(("base", "name"), SPACES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_every_draw_is_valid(base: str, name: str, seed: int) -> None:
    """Validity is the parser's: what a draw gives is written down and read back; and the base is as
    before."""
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
