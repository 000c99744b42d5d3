from dataclasses import asdict
from typing import Any

import pytest

from hmdc_ray.config import EvaluationConfig, StudentConfig
from hmdc_ray.evaluation.protocol import PROTOCOLS, Recipe, recipe


def used(**fields: Any) -> Recipe:
    return recipe(EvaluationConfig.model_validate(fields))


@pytest.mark.parametrize(
    ("fields", "epochs", "variation"),
    [
        ({}, 300, "none"),
        ({"augmentation": True}, 1000, "crop_scale_rotate"),
        ({"augmentation": True, "epochs": 7}, 7, "crop_scale_rotate"),
        ({"epochs": 7}, 7, "none"),
        ({"protocol": "idc"}, 1000, "idc"),
        ({"protocol": "idc", "augmentation": False}, 1000, "none"),
        ({"protocol": "hmdc"}, 2000, "idc"),
    ],
)
def test_epochs_and_augmentation(fields: dict[str, Any], epochs: int, variation: str) -> None:
    made = used(**fields)
    assert (made.epochs, made.variation) == (epochs, variation)


def test_constants_of_dc() -> None:
    made = used()
    assert (made.learning_rate, made.momentum, made.weight_decay, made.batch, made.decay) == (0.01, 0.9, 5e-4, 256, 0.1)
    assert (made.trained_epochs, made.falls, made.fresh_optimiser, made.cutmix) == (301, (152,), True, False)
    assert used(epochs=7).falls == (5,)  # after epoch 7 // 2 + 1


def test_constants_of_idc_and_hmdc() -> None:
    idc, hmdc = used(protocol="idc"), used(protocol="hmdc")
    for made in (idc, hmdc):
        assert (made.learning_rate, made.momentum, made.weight_decay) == (0.01, 0.9, 5e-4)
        assert (made.trained_epochs, made.fresh_optimiser, made.cutmix) == (made.epochs, False, True)
    assert (idc.epochs, idc.batch, idc.falls, idc.decay) == (1000, 64, (666, 833), 0.2)
    assert (idc.one_warp, idc.cutout_beside_cutmix, idc.cutmix_tokens) == (True, False, True)
    assert (hmdc.epochs, hmdc.batch, hmdc.falls) == (2000, 128, ())
    assert (hmdc.one_warp, hmdc.cutout_beside_cutmix, hmdc.cutmix_tokens) == (False, True, False)


def test_without_augmentation_nothing_is_mixed() -> None:
    assert not used(protocol="idc", augmentation=False).cutmix


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_switched_over_is_the_other_recipe(protocol: str) -> None:
    config = EvaluationConfig.model_validate({"protocol": protocol, "epochs": 5})
    plain, varied = (recipe(config.model_copy(update={"augmentation": value})) for value in (False, True))
    assert plain != varied
    for value, other in ((False, varied), (True, plain)):
        assert recipe(config.model_copy(update={"augmentation": value}), switched=True) == other


def test_families_are_those_of_the_configuration() -> None:
    assert used(protocol="idc", families=["crop", "cutout"]).families == ("crop", "cutout")
    assert "flip" in used(protocol="idc").families


@pytest.mark.parametrize(
    ("student", "rate"),
    [
        ({"architecture": "timm:resnet18"}, 1e-2),
        ({"architecture": "timm:resnet18", "weights": "pretrained"}, 1e-3),
        ({"architecture": "torchvision:resnet50", "weights": "pretrained"}, 1e-3),
        ({"architecture": "timm:vit_small_patch16_224", "weights": "pretrained"}, 1e-3),
        ({"architecture": "torchvision:resnet101", "weights": "pretrained"}, 1e-4),
        ({"architecture": "timm:vit_base_patch16_224", "weights": "pretrained"}, 1e-4),
        ({"architecture": "convnet", "weights": "checkpoint:here"}, 1e-3),
        ({"architecture": "timm:resnet101", "weights": "pretrained", "learning_rate": 0.3}, 0.3),
        ({"architecture": "mlp", "learning_rate": 0.3}, 0.3),
    ],
)
def test_learning_rate_of_a_student(student: dict[str, Any], rate: float) -> None:
    made = used(protocol="hmdc").for_student(StudentConfig.model_validate(student))
    assert made.learning_rate == rate
    assert asdict(made) == asdict(used(protocol="hmdc")) | {"learning_rate": rate}
