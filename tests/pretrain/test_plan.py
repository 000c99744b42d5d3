"""What is trained, and by which recipe."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.config.presets import preset
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError
from hmdc_ray.pretrain.plan import DEFAULT_EPOCHS, make_plan

from .conftest import identity, planned


def test_fixed_members_and_other_students_are_trained(config: RunConfig) -> None:
    plan = planned(config)
    assert [network.name for network in plan.networks] == ["thin", "mlp", "convnet"]
    assert {recipe.epochs for recipe in plan.recipes} == {4}
    assert [network.architecture for network in planned(config, "mlp, thin,convnet").networks] == ["mlp", "convnet", "convnet"]


def test_a_recipe_is_that_of_the_whole_data_student() -> None:
    digits = preset("digits")
    students = [student.model_copy(update={"learning_rate": 0.5}) for student in digits.evaluation.students]
    evaluation = digits.evaluation.model_copy(update={"students": tuple(students), "protocol": "idc"})
    plan = planned(digits.model_copy(update={"evaluation": evaluation}), "convnet")
    (recipe,) = plan.recipes
    assert (recipe.epochs, recipe.learning_rate, recipe.variation) == (DEFAULT_EPOCHS, 0.5, "idc")
    assert recipe.families == digits.matching.families and "flip" not in recipe.families


@pytest.mark.parametrize(
    ("architectures", "message"),
    [
        ("mlp,,convnet", "'mlp,,convnet': must be names with commas"),
        ("mlp,thin,mlp", "'mlp' is given twice"),
        ("drawn", "pool.members.drawn redraws its options norm"),
        ("convnett", "network 'convnett': architecture 'convnett': unknown, did you mean 'convnet'?"),
    ],
)
def test_networks_that_cannot_be_trained(config: RunConfig, architectures: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        planned(config, architectures)


def test_a_split_without_images(config: RunConfig) -> None:
    info = replace(open_dataset(config.data).info, sizes={"train": 60, "validation": 0, "test": 9})
    with pytest.raises(InputError, match=r"--split is 'validation', which has no images .* data.validation_fraction"):
        make_plan(config, info, "mlp", "validation", 0)


@pytest.mark.parametrize(("statistics", "variation"), [("mnist", "crop_scale_rotate"), ("fashionmnist", "none")])
def test_mnist_is_varied_as_its_students_are(config: RunConfig, statistics: str, variation: str) -> None:
    plan = planned(parse_config(config.model_dump() | {"data": {**config.data.model_dump(), "statistics": statistics}}, "test"))
    assert {recipe.variation for recipe in plan.recipes} == {variation}


@pytest.mark.parametrize(
    ("precision", "num_gpus", "found"), [("tf32", 1, "tf32"), ("bfloat16", 0.5, "ieee"), ("tf32", 0, None)]
)
def test_the_format_of_gpus_is_part_of_a_training(
    config: RunConfig, precision: str, num_gpus: float, found: str | None
) -> None:
    evaluation = config.evaluation.model_dump() | {"num_gpus": num_gpus}
    changed = config.model_dump() | {"matching": {"precision": precision}, "evaluation": evaluation}
    assert identity(parse_config(changed, "test"), "mlp")["GPU format"] == found


def test_the_record_is_json(config: RunConfig) -> None:
    found = identity(config)
    assert json.loads(json.dumps(found)) == found
