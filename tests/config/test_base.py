"""The configuration's types: strict, complete, and described to its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from hmdc_ray.config import ImagesConfig, MemberConfig, PoolConfig, RunConfig, Section, default_name


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


def test_two_networks_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two networks are called 'vit'"):
        PoolConfig.model_validate({"members": ["vit", "vit"]})


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, object(), b"bytes"])
def test_options_hold_only_what_can_be_written_down(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"options\.width"):
        MemberConfig(architecture="convnet", options={"width": value})
