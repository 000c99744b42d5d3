"""The configuration's types: strict, complete, and described to its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from hmdc_ray.config import ImagesConfig, MatchingConfig, MemberConfig, PoolConfig, RunConfig, Section, default_name
from hmdc_ray.config.errors import field_schema


def sections(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every field of every section: (section, field, schema)."""
    for section, part in {"RunConfig": schema, **schema["$defs"]}.items():
        for field, description in part["properties"].items():
            yield section, field, description


FIELDS = list(sections(RunConfig.model_json_schema()))


@pytest.mark.parametrize(
    ("section", "field", "schema"), [f for f in FIELDS if "$ref" not in f[2]], ids=lambda value: str(value)[:20]
)
def test_every_field_is_described_in_a_sentence_with_its_choices(section: str, field: str, schema: dict[str, Any]) -> None:
    description = schema["description"]
    assert description.endswith("."), f"{section}.{field}"
    assert all(str(choice) in description for choice in schema.get("enum", []))


def test_every_section_is_described() -> None:
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            assert field.annotation.__doc__, name


@pytest.mark.parametrize("value", [True, "3", 3.0, float("nan"), None, [3]])
def test_whole_numbers_are_whole_numbers(value: Any) -> None:
    with pytest.raises(ValidationError):
        ImagesConfig(ipc=value)


@pytest.mark.parametrize("value", [True, "0.5", float("nan"), float("inf"), 0, -1])
def test_numbers_are_finite_numbers_in_their_range(value: Any) -> None:
    with pytest.raises(ValidationError):
        ImagesConfig(learning_rate=value)


def test_whole_numbers_are_numbers() -> None:
    assert ImagesConfig(learning_rate=2).learning_rate == 2.0


def test_configurations_cannot_change() -> None:
    with pytest.raises(ValidationError):
        RunConfig().seed = 3  # type: ignore[misc]


def test_a_network_is_called_after_its_architecture() -> None:
    pool = PoolConfig.model_validate(
        {"members": ["vit", {"architecture": "mine.nets:small"}, {"architecture": "vit", "name": "b"}]}
    )
    assert [member.name for member in pool.members] == ["vit", "small", "b"]
    assert default_name("mine.nets:Net.small") == "small"


def test_main_is_found_by_name() -> None:
    assert PoolConfig.model_validate({"members": ["vit", "mlp"], "main": "mlp"}).main_index == 1
    assert PoolConfig.model_validate({"members": ["vit", "mlp"]}).main_index == 0


def test_two_networks_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two networks are called 'vit'"):
        PoolConfig.model_validate({"members": ["vit", "vit"]})


@pytest.mark.parametrize(
    ("members", "active", "given", "shards"),
    [(1, None, None, 1), (32, None, None, 1), (33, None, None, 2), (65, None, None, 3), (65, 32, None, 1), (65, None, 1, 1)],
)
def test_the_server_has_a_process_for_every_32_members_drawn(
    members: int, active: int | None, given: int | None, shards: int
) -> None:
    pool = {"members": [{"architecture": "mlp", "name": f"m{number}"} for number in range(members)], "active": active}
    config = RunConfig.model_validate({"pool": pool, "cluster": {"server_shards": given}})
    assert config.server_shards == shards


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, object(), b"bytes"])
def test_options_hold_only_what_can_be_written_down(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"options\.width"):
        MemberConfig(architecture="convnet", options={"width": value})


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "", "a\n"])
def test_a_run_cannot_be_called_after_another_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        RunConfig(name=name)


def test_the_schema_is_found_by_path() -> None:
    assert field_schema(("images", "ipc"))["maximum"] == 10_000
    assert field_schema(("pool", "members", 3, "learning_rate"))["type"] == "number"
    assert field_schema(("data", "image_size", 1))["maximum"] == 1024
    assert field_schema(("data", "cache"))["nullable"]
    assert field_schema(("pool", "members", 0, "options", "width")) == {}
    assert get_args(RunConfig.model_fields["name"].annotation) == ()


@pytest.mark.parametrize("value", [0, 1, -5])
def test_aligners_that_nothing_trains_are_refused(value: int) -> None:
    with pytest.raises(ValidationError, match=f"aligner_images is {value}: must be at least 2 .*random projections"):
        MatchingConfig(mutual_distillation=True, aligner_images=value)
