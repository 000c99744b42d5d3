from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hmdc_ray.evaluation import together, training
from hmdc_ray.evaluation.protocol import PROTOCOLS, Recipe
from hmdc_ray.evaluation.together import train_together
from hmdc_ray.evaluation.training import train_student
from hmdc_ray.models import ImageShape, Network, build
from hmdc_ray.seeding import Key

KEYS = [Key(3, "student", iteration=seed) for seed in (0, 1, 0)]
RECIPES = {
    "dc": PROTOCOLS["dc"].plain,
    "dc varied": PROTOCOLS["dc"].varied,
    "idc": PROTOCOLS["idc"].varied,
    "hmdc": PROTOCOLS["hmdc"].varied,
}


def networks(architecture: str) -> list[Network]:
    options = {"convnet": {"width": 4, "depth": 2}, "vit": {"patch_size": 4, "width": 8, "heads": 2, "depth": 1}}
    made = [build(architecture, options.get(architecture, {"width": 8}), ImageShape(1, 8, 8), 3, key) for key in KEYS]
    return [each.double() for each in made]


def images() -> list[tuple[Tensor, Tensor]]:
    generator, labels_N = torch.Generator().manual_seed(1), torch.arange(10) % 3
    return [(torch.randn(10, 1, 8, 8, generator=generator, dtype=torch.float64), labels_N.roll(place)) for place in range(3)]


def largest_difference(ours: Network, theirs: Network) -> float:
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)


@pytest.mark.parametrize("architecture", ["mlp", "convnet", "vit"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_students_are_those_that_are_trained_alone(architecture: str, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=6, batch=4)
    alone = networks(architecture)
    for network, each, key in zip(alone, images(), KEYS, strict=True):
        train_student(network, *each, recipe, key)
    stacked = networks(architecture)
    before = torch.get_rng_state()

    assert train_together(stacked, images(), recipe, KEYS) == [None] * 3

    assert max(largest_difference(ours, theirs) for ours, theirs in zip(stacked, alone, strict=True)) < 1e-9
    assert largest_difference(stacked[0], stacked[2]) > 1e-3  # the same key on other images
    assert torch.equal(before, torch.get_rng_state())


def test_a_student_that_diverges_fails_alone_and_as_it_would_alone() -> None:
    recipe = replace(RECIPES["dc"], epochs=30)
    given = images()
    given[1] = (given[1][0] * 1e200, given[1][1])
    alone = networks("convnet")
    train_student(alone[0], *given[0], recipe, KEYS[0])
    with pytest.raises(FloatingPointError) as told:
        train_student(networks("mlp")[1], *given[1], recipe, KEYS[1])

    stacked = networks("convnet")
    found = train_together(stacked, images(), recipe, KEYS)
    failed = train_together(networks("mlp"), given, recipe, KEYS)

    assert found == [None] * 3 and largest_difference(stacked[0], alone[0]) < 1e-9
    assert failed[0] is failed[2] is None
    assert isinstance(failed[1], FloatingPointError) and str(failed[1]) == str(told.value)


def test_training_ends_when_all_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    finite = training.require_finite

    def counted(loss: float, epoch: int) -> None:
        epochs.append(epoch)
        finite(loss, epoch)

    monkeypatch.setattr(together, "require_finite", counted)
    broken = [(values * torch.nan, labels) for values, labels in images()]
    found = train_together(networks("mlp"), broken, RECIPES["dc"], KEYS)
    assert [str(error) for error in found] == ["the loss is nan in epoch 0"] * 3 and epochs == [0] * 3
