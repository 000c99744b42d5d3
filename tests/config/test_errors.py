"""A fault is one line with the field, its value and the remedy."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.config.errors import _allowed, field_schema
from hmdc_ray.config.io import parse_config
from hmdc_ray.errors import InputError


def test_the_schema_is_found_by_path() -> None:
    assert field_schema(("images", "ipc"))["maximum"] == 10_000
    assert field_schema(("pool", "members", 3, "learning_rate"))["type"] == "number"
    assert field_schema(("data", "image_size", 1))["maximum"] == 1024
    assert field_schema(("data", "cache"))["nullable"]
    assert field_schema(("pool", "members", 0, "options", "width")) == {}
    assert get_args(RunConfig.model_fields["name"].annotation) == ()


def error_of(data: Any) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(data, "x.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"images": {"ipc": -3}}, "x.yaml: images.ipc is -3: must be a whole number, 1 to 10000"),
        ({"images": {"ipcc": 3}}, "x.yaml: images.ipcc is not a known field: did you mean 'ipc'?"),
        ({"imges": {}}, "x.yaml: imges is not a known field: did you mean 'images'?"),
        (
            {"pool": {"members": [{"architecture": "mlp", "lerning_rate": 1}]}},
            "pool.members.0.lerning_rate is not a known field: did you mean 'learning_rate'?",
        ),
        ({"images": {"ipc": "3"}}, "images.ipc is '3': must be a whole number, 1 to 10000"),
        ({"images": {"ipc": 2.5}}, "images.ipc is 2.5: must be a whole number"),
        ({"images": {"ipc": True}}, "images.ipc is true: must be a whole number"),
        ({"images": {"ipc": None}}, "images.ipc is null: must be a whole number"),
        ({"images": {"momentum": 1}}, "images.momentum is 1: must be a number, at least 0 and less than 1"),
        ({"images": {"learning_rate": 0}}, "images.learning_rate is 0: must be a number, more than 0 and at most 10000"),
        ({"images": {"learning_rate": float("nan")}}, "images.learning_rate is nan: must be a number"),
        ({"images": {"clip": "yes"}}, "images.clip is 'yes': must be true or false"),
        ({"images": {}, "seed": -1}, "seed is -1: must be a whole number, at least 0 and less than 9223372036854775808"),
        ({"images": None}, "images is null: must be a section with keys among ipc, formation"),
        ({"images": [1]}, "images is [1]: must be a section"),
        ({1: 2}, "x.yaml: 1 is not a known field: names are text"),
        ({"name": "a b"}, "name is 'a b': Name of the run, and of its folder under runs/: letters, digits"),
        ({"name": 2024}, "name is 2024: must be text; put it in quotes"),
        ({"data": {"source": ""}}, "data.source is '': must be text, not empty"),
        ({"data": {"cache": 3}}, "data.cache is 3: must be text, or null; put it in quotes"),
        ({"data": {"channels": True}}, "data.channels is true: must be 1, 3, or null"),
        ({"data": {"channels": 2}}, "data.channels is 2: must be one of 1, 3, or null"),
        (
            {"pool": {"members": [{"architecture": "mlp", "width": 3}]}},
            "pool.members.0.width is not a known field: did you mean 'pool.members.0.options.width'?",
        ),
        (
            {"pool": {"members": [{"architecture": "mlp", "random_options": {"width": 3}}]}},
            "pool.members.0.random_options.width is 3: must be a list, not empty",
        ),
        ({"data": {"image_size": [0, 3]}}, "data.image_size.0 is 0: must be a whole number, 1 to 1024"),
        (
            {"data": {"image_size": [32]}},
            "data.image_size is [32]: must be a list of 2 values, each a whole number, 1 to 1024, or null",
        ),
        ({"data": {"image_size": [1, 2, 3]}}, "data.image_size is [1, 2, 3]: must be a list of 2 values"),
        ({"data": {"image_size": 32}}, "data.image_size is 32: must be a list of 2 values"),
        (
            {"balance": {"mode": "summ"}},
            "balance.mode is 'summ': must be one of none, sum, max, ema, last; did you mean 'sum'?",
        ),
        (
            {"balance": {"mode": False}},
            "balance.mode is false: must be one of none, sum, max, ema, last; use none to switch it off",
        ),
        ({"matching": {"families": ["flip", "spin"]}}, "matching.families.1 is 'spin': must be one of flip, brightness"),
        ({"matching": {"classes_per_call": 0}}, "matching.classes_per_call is 0: must be a whole number, at least 1, or null"),
        ({"pool": {"members": []}}, "pool.members is []: must be a list, not empty, each a section"),
        ({"pool": {"members": "vit"}}, "pool.members is 'vit': must be a list"),
        ({"pool": {"members": [3]}}, "pool.members.0 is 3: must be a section"),
        ({"pool": {"members": [{"name": "a"}]}}, "pool.members.0.architecture is missing: must be a registered name (see"),
        ({"pool": {"members": ["vit", "vit"]}}, "x.yaml: pool: two networks are called 'vit': give each its own 'name'"),
        ({"pool": {"members": ["vit"], "main": "mlp"}}, "pool: main is 'mlp', which is not a member: known are vit"),
        (
            {"pool": {"members": [{"architecture": "mlp", "resources": {"a": -1}}]}},
            "pool.members.0.resources.a is -1: must be a number, at least 0",
        ),
        (
            {"pool": {"members": [{"architecture": "mlp", "resources": {1: 1}}]}},
            "pool.members.0.resources.1: the key 1 must be text; put it in quotes",
        ),
        (
            {"pool": {"members": [{"architecture": "mlp", "options": {"w": float("inf")}}]}},
            "options.w is inf: must be text, a finite number",
        ),
        (
            {"images": {"ipc": 0, "formation": 0}, "seed": -1},
            "seed is -1: must be a whole number, at least 0 and less than 9223372036854775808 (and 2 more)",
        ),
    ],
    ids=str,
)
def test_faults_are_one_line_with_field_value_and_remedy(data: Any, message: str) -> None:
    line = error_of(data)
    assert message in line
    assert line.startswith("x.yaml: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cluster": {"threads": "all"}}, "test: cluster.threads is 'all': must be a whole number, 1 to 256, or auto"),
        ({"cluster": {"threads": 0}}, "test: cluster.threads is 0: must be a whole number, 1 to 256, or auto"),
        ({"cluster": {"threads": 1.5}}, "test: cluster.threads is 1.5: must be a whole number, 1 to 256, or auto"),
        (
            {"pool": {"members": [{"architecture": "mlp", "num_gpus": -1}]}},
            "test: pool.members.0.num_gpus is -1: must be a number, at least 0, or auto",
        ),
        (
            {"pool": {"members": [{"architecture": "mlp", "num_cpus": 0}]}},
            "test: pool.members.0.num_cpus is 0: must be a number, more than 0, or auto",
        ),
        (
            {"evaluation": {"num_gpus": True, "threads": "Auto"}},
            "test: evaluation.num_gpus is true: must be a number, at least 0, or auto (and 1 more)",
        ),
        ({"evaluation": {"threads": "Auto"}}, "test: evaluation.threads is 'Auto': must be a whole number, 1 to 256, or auto"),
    ],
)
def test_what_may_be_auto_is_one_fault_and_not_two(data: Any, message: str) -> None:
    with pytest.raises(InputError) as told:
        parse_config(data, "test")
    assert str(told.value) == message


def test_one_fault_is_counted_once() -> None:
    assert "more)" not in error_of({"pool": {"members": [{"architecture": "vit", "loss_weight": -1}]}})


def test_long_values_are_cut() -> None:
    assert len(error_of({"images": {"ipc": "9" * 1000}})) < 200


def test_one_choice_is_no_list() -> None:
    assert _allowed({"enum": ["dc"]}) == "dc"
    assert _allowed({"enum": ["dc", "idc"], "nullable": True}) == "one of dc, idc, or null"
