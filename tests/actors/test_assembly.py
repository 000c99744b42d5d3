"""What two runs must share to give the same images."""

from __future__ import annotations

from typing import Any

import pytest

from hmdc_ray.actors.assembly import identity
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import ImageDataset


def fields(dataset: ImageDataset, **sections: Any) -> dict[str, Any]:
    pool = {"members": [{"architecture": "convnet"}, {"architecture": "lenet"}]}
    return identity(RunConfig.model_validate({"pool": pool, **sections}), dataset.info)


def test_fields_that_have_come_since_are_of_the_identity_only_where_they_change_images(three_digits: ImageDataset) -> None:
    plain = fields(three_digits)["config"]
    assert not {"agreement", "aligner_images", "probe_every"} & plain["matching"].keys()
    distils = fields(three_digits, matching={"mutual_distillation": True, "probe_every": 7})["config"]
    assert (distils["matching"]["agreement"], distils["matching"]["aligner_images"]) == ("mse", 2000)
    assert "probe_every" not in distils["matching"]


@pytest.mark.parametrize(("training", "augmentation", "marked"), [
    ("real", "idc", True), ("synthetic", "dsa", True), ("none", "idc", False), ("real", "none", False),
])  # fmt: skip
def test_a_run_that_trained_on_one_augmentation_a_batch_is_not_resumed(
    training: str, augmentation: str, marked: bool, three_digits: ImageDataset
) -> None:
    found = fields(three_digits, schedule={"training": training}, matching={"augmentation": augmentation})
    assert (found.get("training_augmentation") == "per image") == marked
