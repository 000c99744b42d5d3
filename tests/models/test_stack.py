from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.models import Architecture, ImageShape, Network, build, registered
from hmdc_ray.models.optimisers import SGD
from hmdc_ray.models.stack import Stack, image_work, is_stackable
from hmdc_ray.seeding import Key
from models.networks import CLASSES, DIGITS, MNIST

BUILT_IN = ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18", "vit")
SMALL: dict[str, dict[str, Any]] = {
    "convnet": {"width": 6},
    "vgg11": {"width": 4},
    "resnet18": {"width": 4, "norm": "group"},
    "alexnet": {"width": 4},
    "vit": {"patch_size": 4, "width": 8, "heads": 2, "depth": 2},
}
STACKED = [
    *((name, SMALL.get(name, {}), DIGITS) for name in BUILT_IN),
    *(("convnet", {"width": 4, "norm": norm, "pooling": "max"}, DIGITS) for norm in ("batch", "layer", "group", "none")),
    ("resnet18", {"width": 4, "norm": "batch"}, DIGITS),
    ("convnet", {"width": 4}, MNIST),
    ("mlp", {"width": 8}, ImageShape(3, 8, 8)),
]


def network(architecture: str, number: int, options: dict[str, Any], shape: ImageShape = DIGITS) -> Network:
    return build(architecture, options, shape, CLASSES, Key(0, "network", iteration=number)).double()


def draw(shape: ImageShape, size: int, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, count, shape.channels, shape.height, shape.width, generator=generator, dtype=torch.float64)


def steps(module: nn.Module, loss: Callable[[], Tensor], count: int = 3) -> None:
    module.train()
    optimiser = SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(count):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def trained_alone(alone: Network, images_BCHW: Tensor, labels_B: Tensor) -> Network:
    steps(alone, lambda: F.cross_entropy(alone(images_BCHW), labels_B))
    return alone


def trained_together(networks: list[Network], images_SBCHW: Tensor, labels_SB: Tensor) -> list[Network]:
    stack = Stack(networks)

    def loss() -> Tensor:
        return torch.stack([F.cross_entropy(*each) for each in zip(stack(images_SBCHW), labels_SB, strict=True)]).sum()

    steps(stack, loss)
    stack.unstack()
    return networks


def assert_equal(ours: Network, theirs: Network) -> None:
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-9, atol=1e-11)


def test_every_registered_architecture_is_here() -> None:
    own = {name for name, entry in registered().items() if entry.factory.__module__.startswith("hmdc_ray.")}
    assert own == set(BUILT_IN)


@pytest.mark.parametrize(("architecture", "options", "shape"), STACKED, ids=lambda value: str(value))
def test_a_stack_trains_its_networks_as_they_train_alone(architecture: str, options: dict[str, Any], shape: ImageShape) -> None:
    images_SBCHW = draw(shape, 3)
    labels_SB = torch.stack([torch.arange(6), torch.arange(6) + 3, torch.arange(6).flip(0)])
    untrained = network(architecture, 0, options, shape)
    assert is_stackable(untrained)
    alone = [
        trained_alone(network(architecture, place, options, shape), images_SBCHW[place], labels_SB[place]) for place in range(3)
    ]

    together = trained_together([network(architecture, place, options, shape) for place in range(3)], images_SBCHW, labels_SB)

    for ours, theirs in zip(together, alone, strict=True):
        assert_equal(ours, theirs)
        assert any(not torch.equal(a, b) for a, b in zip(ours.parameters(), untrained.parameters(), strict=True))


@pytest.mark.parametrize("architecture", ["convnet", "vit", "alexnet"])
def test_nothing_of_a_network_that_diverged_reaches_another(architecture: str) -> None:
    images_SBCHW, labels_SB = draw(DIGITS, 3), torch.arange(6).expand(3, -1)
    images_SBCHW[1] = torch.nan
    options = SMALL[architecture]
    alone = [trained_alone(network(architecture, place, options), images_SBCHW[place], labels_SB[place]) for place in (0, 2)]
    first, broken, last = trained_together(
        [network(architecture, place, options) for place in range(3)], images_SBCHW, labels_SB
    )
    assert all(value.isnan().all() for value in broken.parameters())
    assert_equal(first, alone[0])
    assert_equal(last, alone[1])


def test_the_networks_are_as_they_were_until_the_stack_is_undone() -> None:
    networks = [network("mlp", place, {"width": 4}) for place in range(2)]
    before = [[value.clone() for value in each.parameters()] for each in networks]
    stack = Stack(networks)
    with torch.no_grad():
        for value in stack.parameters():
            value.add_(1)
    assert all(
        torch.equal(a, b)
        for each, old in zip(networks, before, strict=True)
        for a, b in zip(each.parameters(), old, strict=True)
    )
    stack.unstack()
    for each, old in zip(networks, before, strict=True):
        for value, start in zip(each.parameters(), old, strict=True):
            torch.testing.assert_close(value.detach(), start.detach() + 1)


def _dropout() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, CLASSES))


def _shared() -> nn.Module:
    first, second = nn.Linear(256, 256), nn.Linear(256, 256)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, second, nn.Linear(256, CLASSES))


def _frozen() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, CLASSES))
    module[1].bias.requires_grad_(False)
    return module


def _hooked() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, CLASSES))
    module[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    return module


def _own() -> nn.Module:
    class Own(nn.Linear):
        pass

    return nn.Sequential(nn.Flatten(), Own(256, CLASSES))


def _row_of_all() -> nn.Module:
    return nn.Sequential(nn.Flatten(2), nn.Flatten(), nn.Linear(256, CLASSES))


@pytest.mark.parametrize("module", [_dropout(), _shared(), _frozen(), _hooked(), _own(), _row_of_all()])
def test_other_networks_are_refused(module: nn.Module) -> None:
    assert not is_stackable(Network(Architecture(module), DIGITS, CLASSES))


def test_a_network_that_sees_other_images_is_refused() -> None:
    def made(**fields: Any) -> Network:
        return Network(Architecture(nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)), **fields), DIGITS, CLASSES)

    assert is_stackable(made())
    assert not is_stackable(made(input_channels=3))
    assert not is_stackable(made(input_size=(8, 8)))


@pytest.mark.parametrize(
    ("architecture", "options", "work"),
    [
        ("mlp", {"width": 8}, 256 * 8 + 8 * 8 + 8 * 10),
        ("convnet", {"width": 4, "depth": 1}, 9 * 4 * 256 + 4 * 64 * 10),
        ("vit", {"patch_size": 8, "width": 4, "heads": 1, "depth": 1}, 4 * 64 * 4 + 5 * 12 * 4 * 4 + 4 * 10),
    ],
)
def test_work_is_counted(architecture: str, options: dict[str, Any], work: int) -> None:
    made = network(architecture, 0, options)
    assert image_work(made) == work
    assert not any(module._forward_hooks for module in made.modules())
