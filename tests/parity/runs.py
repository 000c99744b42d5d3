"""Small members and runs for the tests of matching, of whole pools and of actors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hmdc_ray.config import DataConfig, ImagesConfig, MatchingConfig, MemberConfig, RunConfig, ScheduleConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.messages import Gradients
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.distillation import Agreement
from hmdc_ray.matching.member import Member
from hmdc_ray.matching.sizes import gradient_sizes

MEMBERS: dict[str, dict[str, Any]] = {
    "shallow": {"architecture": "convnet", "options": {"width": 4, "depth": 1, "activation": "swish"}},
    "deep": {"architecture": "convnet", "options": {"width": 5, "depth": 2, "activation": "swish"}},
    "batchnorm": {"architecture": "convnet", "options": {"width": 4, "depth": 2, "norm": "batch"}},
    "one-pixel": {"architecture": "parity.networks:one_pixel"},
    "mlp": {"architecture": "mlp", "options": {"width": 6}},
    "plain": {"architecture": "convnet", "options": {"width": 4, "depth": 1, "norm": "none", "activation": "swish"}},
    "dropout": {"architecture": "parity.networks:with_dropout"},
    "vit": {"architecture": "vit", "options": {"patch_size": 4, "width": 8, "depth": 2, "heads": 2}},
}
"""Members by name: ``mlp``, ``deep``, ``batchnorm`` and ``vit`` have two taps, the others one."""


def members(*names: str, **fields: Any) -> tuple[MemberConfig, ...]:
    return tuple(MemberConfig(name=name, **MEMBERS[name], **fields) for name in names)


def parity_run(
    data: DataConfig, pool: tuple[MemberConfig, ...], schedule: dict[str, Any] | None = None, **matching: Any
) -> RunConfig:
    """Two steps in float64, training in between, and an image step that is the plain sum of all
    gradients."""
    training = {"training": "real", "real_images": 16, "batch": 8, **(schedule or {})}
    distilling = {"mutual_distillation": True, "aligner_images": 24, "augmentation": "idc"}
    settings = {
        "seed": 3,
        "data": data,
        "pool": {"members": pool},
        "matching": {"precision": "float64", "real_batch": 5, **distilling, **matching},
        "images": {"ipc": 2, "formation": 2, "momentum": 0.0, "learning_rate": 0.05},
        "schedule": {"iterations": 1, "steps": 2, **training},
        "cluster": {"threads": 1},
    }
    return RunConfig.model_validate(settings)


def consensus_of(agreement: Agreement, features: Sequence[Tensor]) -> Tensor:
    """Fbar of the features of all members in order, differentiable; the server's running consensus
    gives the same."""
    return agreement.mean(torch.stack([agreement.own(member, part) for member, part in enumerate(features)]).sum(dim=0))


def one_member(dataset: ImageDataset, name: str, *, index: int = 0, seed: int = 0, **sections: Any) -> Member:
    """A member by name; ``matching``, ``schedule`` and ``images`` as mappings, ``config`` for
    fields of the member, ``device`` if it is not the CPU."""
    return Member(
        index=index,
        seed=seed,
        config=members(name, **sections.get("config", {}))[0],
        matching=MatchingConfig(**{"real_batch": 5, **sections.get("matching", {})}),
        schedule=ScheduleConfig(
            **{"steps": 4, "training": "real", "real_images": 16, "batch": 8, **sections.get("schedule", {})}
        ),
        images=ImagesConfig(**sections.get("images", {})),
        dataset=dataset,
        device=sections.get("device", torch.device("cpu")),
    )


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of parameters and buffers that are not as they were."""
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def step_plan(step: int = 0, *, members: int = 1, training_batches: int = 2, iteration: int = 0) -> StepPlan:
    """A step of an iteration of ten, on three classes in one chunk."""
    return StepPlan(
        iteration=iteration,
        step=step,
        version=10 * iteration + step,
        members=tuple(range(members)),
        chunks=((0, 1, 2),),
        chooser=None,
        trains=True,
        training_batches=training_batches,
    )


def gradients_message(
    labels: tuple[int, ...],
    classification_KICHW: NDArray[Any],
    distillation_KICHW: NDArray[Any] | None = None,
    *,
    version: int = 0,
    losses: tuple[float, ...] = (),
) -> Gradients:
    """A member's gradients as it would send them, with their sizes; the losses are those of both
    targets."""
    sizes = gradient_sizes(torch.from_numpy(classification_KICHW))
    return Gradients(version, labels, classification_KICHW, sizes, distillation_KICHW, losses, losses)
