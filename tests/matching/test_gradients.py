"""Gradients with respect to the images against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from parity.runs import consensus_of
from torch import Tensor

from hmdc_ray.config import Family
from hmdc_ray.data.augment import draw
from hmdc_ray.data.packing import decode
from hmdc_ray.matching.distances import Metric
from hmdc_ray.matching.distillation import Agreement
from hmdc_ray.matching.gradients import (
    agreement_gradient,
    classification_gradient,
    classification_target,
    distillation_target,
    pull_back,
)
from hmdc_ray.matching.ssd import Aligner, common_size, token_mask
from hmdc_ray.models import ImageShape, Network, build
from hmdc_ray.seeding import Key

SHAPE = ImageShape(1, 4, 4)
FAMILIES: tuple[Family, ...] = ("flip", "brightness", "saturation", "contrast", "crop", "scale", "rotate")
STEP = 1e-5


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def convnet(depth: int, norm: str = "instance") -> Network:
    options = {"width": 3, "depth": depth, "activation": "swish", "norm": norm}
    return build("convnet", options, SHAPE, 3, Key(0, "network", member=depth)).double()


def finite_differences(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    gradient = torch.zeros_like(images)
    for position in range(images.numel()):
        values = []
        for sign in (1, -1):
            moved = images.detach().clone()
            moved.view(-1)[position] += sign * STEP
            values.append(float(function(moved.requires_grad_())))
        gradient.view(-1)[position] = (values[0] - values[1]) / (2 * STEP)
    return gradient


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("metric", ["mse", "cosine", "l1"])
def test_a_members_target_against_finite_differences(metric: Metric, norm: str) -> None:
    network = convnet(1, norm)
    parameters = list(network.parameters())
    augment = draw("idc", FAMILIES, 4, 4, Key(0, "augmentation").generator())
    real = classification_gradient(network(augment(noise(3, 1, 4, 4, seed=1))), torch.tensor([1, 1, 1]), parameters, False)

    def target(images: Tensor) -> tuple[Tensor, Tensor]:
        synthetic = augment(decode(images, 2))
        gradients = classification_gradient(network(synthetic), torch.full((len(synthetic),), 1), parameters, True)
        return classification_target(metric, real, gradients, images, keep_graph=False)

    images = noise(1, 1, 4, 4, seed=2).requires_grad_()
    _, gradient = target(images)
    assert relative(gradient, finite_differences(lambda moved: target(moved)[0], images)) < 1e-6
    assert all(parameter.grad is None for parameter in parameters)


@pytest.mark.parametrize("pool", [(1, 2), (2, 1, 2)], ids=["two", "three"])
def test_the_distillation_target_against_finite_differences(pool: tuple[int, ...]) -> None:
    networks = [convnet(depth) for depth in pool]
    taps = [network.taps for network in networks]
    size = common_size(taps)
    agreement = Agreement([token_mask(some, size) for some in taps])
    aligners = [Aligner(some, size, "adaptive").double() for some in taps]
    for seed, aligner in enumerate(aligners):
        for parameter in aligner.parameters():
            parameter.data.copy_(noise(*parameter.shape, seed=seed))

    def features(batch: Tensor) -> list[Tensor]:
        return [aligner(network.observe(batch).features) for network, aligner in zip(networks, aligners, strict=True)]

    parameters = [list(network.parameters()) for network in networks]
    real = features(noise(3, 1, 4, 4, seed=3))
    mean = consensus_of(agreement, [part.detach() for part in real])
    h_real = [agreement_gradient(agreement, i, part, mean, parameters[i], False) for i, part in enumerate(real)]

    def target(images: Tensor) -> tuple[Tensor, Tensor]:
        found = features(images)
        consensus = consensus_of(agreement, [part.detach() for part in found])
        terms = [
            distillation_target(agreement, i, h_real[i], part, consensus, parameters[i], images) for i, part in enumerate(found)
        ]
        share = agreement.mean(torch.stack([term.cotangent_BLTD for term in terms]).sum(0))
        through = [pull_back(part, agreement.own(i, share), images) for i, part in enumerate(found)]
        own = [term.gradient_ICHW for term in terms]
        return torch.stack([term.loss for term in terms]).sum(), torch.stack([*own, *through]).sum(0)

    images = noise(1, 1, 4, 4, seed=4).requires_grad_()
    _, gradient = target(images)
    assert relative(gradient, finite_differences(lambda moved: target(moved)[0], images)) < 1e-6


def test_parameters_that_no_tap_depends_on_take_no_part_in_distillation() -> None:
    network = convnet(1)
    aligner = Aligner(network.taps, common_size([network.taps]), "adaptive").double()
    agreement = Agreement([token_mask(network.taps, aligner.size)] * 2)
    features = aligner(network.observe(noise(2, 1, 4, 4, seed=0)).features)
    names = [name for name, _ in network.named_parameters()]
    gradients = agreement_gradient(agreement, 0, features, torch.zeros_like(features), list(network.parameters()), False)
    without = {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}
    assert without == {"module.classifier.weight", "module.classifier.bias"}


def test_a_parameter_that_is_not_used_has_a_gradient_of_zeros() -> None:
    unused = torch.ones(3, requires_grad=True)
    logits = noise(2, 3, seed=0).requires_grad_()
    used, zeros = classification_gradient(logits, torch.tensor([0, 1]), [logits, unused], create_graph=False)
    assert used.abs().max() > 0 and torch.equal(zeros, torch.zeros(3))
