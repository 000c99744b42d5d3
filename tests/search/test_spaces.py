"""Spaces by name and by import path; what is wrong with a user's own is said in one line, before
anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmdc_ray.config.presets import preset
from hmdc_ray.errors import InputError
from hmdc_ray.search.spaces import open_space

OWN = """
from ray import tune
from tune_spaces.fields import replace

def space():
    return {SPACE}

def apply(base, sample):
    return APPLY
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Import path of a space made of the test's parameters."""
    space, apply = request.param
    name = f"own_space_{abs(hash((space, apply)))}"
    (tmp_path / f"{name}.py").write_text(OWN.replace("SPACE", space).replace("APPLY", apply))
    monkeypatch.syspath_prepend(tmp_path)
    return name


GOOD = "'images.learning_rate': tune.uniform(0.1, 1)", "replace(base, sample)"


@pytest.mark.parametrize("own", [GOOD], indirect=True)
def test_a_space_of_ones_own(own: str) -> None:
    space = open_space(own, preset("digits"))
    assert space.apply({"images.learning_rate": 0.25}).images.learning_rate == 0.25


@pytest.mark.parametrize("own", [("'images.learning_rate': tune.uniform(0.1, 1)", "replace(base, sample)")], indirect=True)
def test_a_space_cannot_ask_for_the_test_split(own: str) -> None:
    base = preset("digits")
    assert base.evaluation.split == "test"
    assert open_space(own, base).apply({"images.learning_rate": 0.25}).evaluation.split == "validation"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (("'images.learning_rte': tune.uniform(0, 1)", "base"), "images.learning_rte is not a known field: did you mean"),
        (
            ("'pool.members.vitt.loss_weight': tune.uniform(0, 1)", "base"),
            "pool.members.vitt does not exist: did you mean 'vit'",
        ),
        (("'pool.members.7.loss_weight': tune.uniform(0, 1)", "base"), "pool.members.7 does not exist"),
        (("'seed.first': tune.randint(0, 9)", "base"), "seed.first is not a known field: seed has no fields"),
        (("'seed': 3", "base"), "seed is 3: must be a domain of Ray Tune"),
        (("", "base"), "space() gives {} for this configuration: must give at least one domain"),
        (("'seed': tune.randint(0, 9)", "dict(sample)"), "apply(base, sample) gives {'seed': "),
        (("'seed': tune.randint(0, 9)", "sample['sed']"), "apply(base, sample) fails on {'seed': "),
        (("'images.ipc': tune.randint(-9, -1)", "replace(base, sample)"), "images.ipc is -"),
    ],
    indirect=["own"],
)
def test_a_bad_space_is_one_line(own: str, message: str) -> None:
    with pytest.raises(InputError) as told:
        open_space(own, preset("digits"))
    assert message in str(told.value)


def test_an_unknown_space_is_named() -> None:
    with pytest.raises(InputError, match=r"space 'smok' does not exist .* did you mean 'smoke'"):
        open_space("smok", preset("digits"))
    with pytest.raises(InputError, match=r"space 'no\.such' cannot be imported"):
        open_space("no.such", preset("digits"))
    with pytest.raises(InputError, match=r"space 'json\.decoder' is no space: its module needs the functions space"):
        open_space("json.decoder", preset("digits"))


def test_a_path_into_a_section_that_is_null_or_free_is_known() -> None:
    from hmdc_ray.search.spaces import _require_known

    for path in ("evaluation.distillation.alpha", "pool.members.vit.options.depth", "pool.members.0.learning_rate"):
        _require_known("own", path, preset("digits"))
