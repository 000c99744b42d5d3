from __future__ import annotations

import torch

from benchmarks.pretend_device import OnDevice, pretend_device
from hmdc_ray.system.transfer import to_device, to_host


def some_tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, 5, generator=generator),
        torch.tensor([True, False, True]),
        torch.randn((), generator=generator, dtype=torch.float64),
        torch.arange(7),
        torch.empty(0, 4),
        torch.randn(4, 3, generator=generator).to(torch.bfloat16).T,
        torch.arange(5, dtype=torch.uint8),
    ]


def test_tensors_come_back_as_they_went_in_one_copy_each_way() -> None:
    tensors = some_tensors()
    with pretend_device() as (device, waits):
        there = to_device(tensors, device)
        assert all(tensor.device == device for tensor in there)
        back = to_host(there)
        assert not any(isinstance(tensor, OnDevice) for tensor in back)
        assert [waits.total(kind) for kind in ("copies to the device", "copies from the device", "synchronisations")] == [
            1,
            1,
            0,
        ]
    for found, tensor in zip(back, tensors, strict=True):
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape) and torch.equal(found, tensor)
        assert found.is_contiguous()


def test_on_the_cpu_nothing_moves() -> None:
    tensors = some_tensors()
    assert all(found is tensor for found, tensor in zip(to_device(tensors, torch.device("cpu")), tensors, strict=True))
    assert [found.data_ptr() for found in to_host(tensors)] == [tensor.data_ptr() for tensor in tensors]


def test_what_comes_back_has_no_graph() -> None:
    weight = torch.ones(2, requires_grad=True)
    assert not to_host([weight * 2])[0].requires_grad
    with pretend_device() as (device, _):
        assert not to_host([weight.to(device) * 2])[0].requires_grad


def test_nothing_to_move_is_no_copy() -> None:
    with pretend_device() as (device, waits):
        assert to_device([], device) == to_host([]) == []
        assert not waits.counts
