"""The device itself: it is as strict as a GPU, counts what a GPU would wait for, and computes what
the CPU does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.pretend_device import Kind, OnDevice, Waits, pretend_device
from hmdc_ray.seeding import Key, forked


def counts(waits: Waits) -> tuple[int, ...]:
    kinds: tuple[Kind, ...] = ("copies to the device", "copies from the device", "synchronisations")
    return tuple(waits.total(kind) for kind in kinds)


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: there @ here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: there.add_(here),
        lambda there, here: there[torch.tensor([0, 1])],
        lambda there, here: F.linear(here, there),
    ],
)
def test_tensors_of_two_devices_do_not_mix(mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pretend_device() as (device, _):
        here = torch.ones(2, 2)
        there = here.to(device)
        with pytest.raises(RuntimeError, match=r"expected all tensors on pretend:0, found \[\(2"):
            mix(there, here)


def test_single_values_of_the_cpu_may_enter() -> None:
    with pretend_device() as (device, waits):
        there = torch.ones(2, device=device)
        assert torch.equal((there * torch.tensor(3.0) + 1).cpu(), torch.full((2,), 4.0))
        assert counts(waits) == (0, 1, 0)


@pytest.mark.parametrize("draw", [torch.rand, torch.randn, torch.randperm])
def test_a_generator_of_the_cpu_draws_nothing_for_the_device(draw: Callable[..., Tensor]) -> None:
    with pretend_device() as (device, _), pytest.raises(RuntimeError, match="expected a generator of pretend:0"):
        draw(3, generator=torch.Generator(), device=device)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda x, device: torch.ones(3).to(device), (1, 0, 0)),
        (lambda x, device: torch.tensor([1.0, 2.0], device=device), (1, 0, 0)),
        (lambda x, device: x.new_tensor([1.0, 2.0]), (1, 0, 0)),
        (lambda x, device: x[0].copy_(torch.ones(2)), (1, 0, 0)),
        (lambda x, device: x.cpu(), (0, 1, 0)),
        (lambda x, device: x.tolist(), (0, 1, 0)),
        (lambda x, device: torch.empty(2, 2).copy_(x), (0, 1, 0)),
        (lambda x, device: x.sum().item(), (0, 0, 1)),
        (lambda x, device: bool((x > 1).any()), (0, 0, 1)),
        (lambda x, device: x[x > 1], (0, 0, 1)),
        (lambda x, device: x.nonzero(), (0, 0, 1)),
        (lambda x, device: torch.equal(x, x), (0, 0, 1)),
        (lambda x, device: torch.zeros(3, device=device) + torch.where(x > 1, x, 0.0).sum(), (0, 0, 0)),
        (lambda x, device: x.to(torch.float64).double() * 2, (0, 0, 0)),
        (lambda x, device: x.view(torch.uint8), (0, 0, 0)),
    ],
)
def test_copies_and_looks_are_counted(act: Callable[[Tensor, torch.device], object], expected: tuple[int, ...]) -> None:
    for gradients in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with pretend_device() as (device, waits):
            x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to(device)
            waits.counts.clear()
            with gradients():
                act(x, device)
            assert counts(waits) == expected, gradients


def test_a_second_derivative_is_the_cpus() -> None:
    """Up to the order of sums: torch differentiates for a device in a thread of its own, which may
    share its work among another number of threads."""
    found = []
    with pretend_device() as (device, _):
        for place in (torch.device("cpu"), device):
            with forked(Key(0, "network")):
                network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2))
                images = torch.randn(4, 1, 5, 5, dtype=torch.float64).to(place).requires_grad_()
            network.to(place, torch.float64)
            loss = F.cross_entropy(network(images), torch.zeros(4, dtype=torch.int64, device=place))
            gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
            torch.stack([gradient.square().sum() for gradient in gradients]).sum().backward()
            assert isinstance(images.grad, OnDevice) == (place == device) and images.grad is not None
            found.append(images.grad.cpu())
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
    assert found[0].any()


def test_outside_of_the_block_the_device_is_gone() -> None:
    with pretend_device() as (device, _):
        there = torch.ones(2, device=device)
    with pytest.raises(AssertionError, match="outside of the block"):
        there + 1


def test_the_device_is_there_within_its_block_alone() -> None:
    """Torch's own ``DataParallel`` would move a network to it."""
    network = torch.nn.DataParallel(torch.nn.Linear(2, 2))
    assert network(torch.ones(1, 2)).device.type == "cpu" and not network.device_ids
    with pretend_device():
        assert torch.get_device_module("pretend").is_available()
    assert not torch.get_device_module("pretend").is_available()
