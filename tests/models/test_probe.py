"""Looking into a module leaves no trace in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hmdc_ray.models.probe import outputs, untouched, zeros


def layers() -> nn.Sequential:
    """The first one is in evaluation mode."""
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()
    module[0].eval()
    return module


def tracked(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Batches that the BatchNorm has seen, and their running mean."""
    state = module.state_dict()
    return state["1.num_batches_tracked"], state["1.running_mean"]


def test_outputs_are_those_of_the_evaluation_mode() -> None:
    module = layers()
    images = torch.ones(4, 2, dtype=torch.float64)
    found = outputs(module, ["0", "2"], images)
    assert set(found) == {"0", "2"}
    assert torch.equal(found["0"], module[0](images)) and not found["0"].requires_grad
    assert tracked(module)[0] == 0 and not any(part._forward_hooks for part in module)
    assert [part.training for part in module] == [False, True, True]


def test_modes_and_statistics_come_back_whatever_is_done() -> None:
    module = layers()
    with untouched(module):
        module.train()(torch.rand(4, 2, dtype=torch.float64))
        assert tracked(module)[0] == 1
    assert not any(value.any() for value in tracked(module))
    assert [part.training for part in module] == [False, True, True]


def test_images_have_the_format_of_the_module() -> None:
    images = zeros(layers(), 2, 1, 4, 3)
    assert images.shape == (2, 1, 4, 3) and images.dtype == torch.float64 and not images.any()
