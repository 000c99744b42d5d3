"""Checks made before anything is started: networks, taps, formation and splits against the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape
from hmdc_ray.validate import validate, validate_students

MLP = {"architecture": "mlp", "options": {"width": 4}}
CONVNET = {"architecture": "convnet", "options": {"width": 4, "depth": 1}}


def without_taps(shape: ImageShape, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes))


@pytest.fixture
def info(three_digits: ImageDataset) -> DatasetInfo:
    """Of grey images of 8x8 pixels in three classes."""
    return three_digits.info


def refusal(info: DatasetInfo, **sections: Any) -> str:
    with pytest.raises(InputError) as caught:
        validate(parse_config({"pool": {"members": [MLP]}, "evaluation": {"students": [MLP]}, **sections}, "test"), info)
    return str(caught.value)


def test_the_networks_of_the_pool_come_back_in_order(info: DatasetInfo) -> None:
    config = parse_config({"pool": {"members": [MLP, CONVNET]}, "evaluation": {"students": [MLP]}}, "test")
    networks = validate(config, info)
    assert [len(network.taps) for network in networks] == [2, 1]
    assert all(network.classes == 3 and network.image_shape == info.shape for network in networks)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"pool": {"members": [MLP, {"architecture": "lenet", "name": "second"}]}},
            "pool.members.second: architecture 'lenet': images are 1x8x8, must be at least 12x12 pixels",
        ),
        ({"pool": {"members": ["vitt"]}}, "pool.members.vitt: architecture 'vitt': unknown, did you mean 'vit'?"),
        (
            {"pool": {"members": [{"architecture": "mlp", "options": {"widht": 4}}]}},
            "pool.members.mlp: architecture 'mlp': unknown option 'widht': did you mean 'width'?",
        ),
        ({"evaluation": {"students": [MLP, "lenet"]}}, "evaluation.students.lenet: architecture 'lenet': images are 1x8x8"),
        ({"images": {"formation": 3}}, "images.formation is 3, which does not divide the image size 8x8"),
    ],
    ids=["too small", "unknown", "option", "student", "formation"],
)
def test_what_does_not_fit_is_named_with_its_field(info: DatasetInfo, sections: dict[str, Any], message: str) -> None:
    assert message in refusal(info, **sections)


def test_mutual_distillation_needs_taps(info: DatasetInfo) -> None:
    bare = {"architecture": f"{__name__}:without_taps", "name": "bare"}
    sections = {"pool": {"members": [MLP, bare]}, "evaluation": {"students": [MLP]}}
    assert len(validate(parse_config(sections, "test"), info)) == 2
    message = refusal(info, **sections, matching={"mutual_distillation": True})
    assert message.startswith("pool.members.bare ('test_validate:without_taps') has no taps, which matching")
    alone = {"pool": {"members": [bare]}, "matching": {"mutual_distillation": True}, "evaluation": {"students": [MLP]}}
    assert len(validate(parse_config(alone, "test"), info)) == 1


def test_one_class_cannot_be_condensed(info: DatasetInfo) -> None:
    assert "has 1 class, condensation needs at least 2" in refusal(replace(info, class_names=("only",)))


def test_students_need_images_to_be_judged_on(info: DatasetInfo) -> None:
    empty = replace(info, sizes={**info.sizes, "validation": 0})
    config = parse_config({"evaluation": {"students": [MLP], "split": "validation"}}, "test")
    with pytest.raises(InputError, match=r"evaluation\.split is 'validation', which has no images in data"):
        validate_students(config, empty)
    validate_students(config, info)
