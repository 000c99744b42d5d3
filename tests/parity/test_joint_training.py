"""Networks and aligners that are trained by members in exchange are those of one joint training
(HMDC section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.augment import draw
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import decode
from hmdc_ray.exchange.messages import Snapshot, State
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.seeding import Key
from parity.joint import JointMember, disagreement, joint_member
from parity.runs import members, parity_run

POOLS = [("shallow", "deep"), ("shallow", "mlp", "deep")]
EXACT = 1e-9


@dataclass
class Started:
    """A pool in the middle of its first iteration, and its coordinator."""

    config: RunConfig
    pool: LocalPool
    coordinator: Coordinator

    def states(self) -> list[State]:
        return [worker.state() for worker in self.pool.workers]

    def joint(self, dataset: ImageDataset) -> list[JointMember]:
        return [joint_member(self.config, dataset, index, state) for index, state in enumerate(self.states())]


def started(config: RunConfig, dataset: ImageDataset, folder: Path) -> Started:
    pool = LocalPool(config, dataset.info, folder)
    coordinator = Coordinator(config, pool, classes=3, train_images=dataset.info.sizes["train"])
    coordinator._begin(coordinator.plan(0))
    return Started(config, pool, coordinator)


def configuration(data: DataConfig, names: tuple[str, ...], training: str, agreement: str) -> RunConfig:
    schedule = {"training": training, "inner_epochs": 2}
    return parity_run(data, members(*names, learning_rate=0.1), schedule, agreement=agreement)


def varied(config: RunConfig, stream: Any, step: int, batch: int, images: Tensor) -> Tensor:
    """Every image with a draw of its own."""
    generator = Key(config.seed, stream, step=step, batch=batch).generator()
    return draw(config.matching.augmentation, config.matching.families, 8, 8, generator, len(images), torch.float64)(images)


def real_batch(
    config: RunConfig, dataset: ImageDataset, stream: Any, images: int, step: int, batch: int
) -> tuple[Tensor, Tensor]:
    rows = Key(config.seed, stream, step=step).numpy().permutation(dataset.info.sizes["train"])[:images]
    rows = rows[8 * batch : 8 * batch + 8]
    augmentation = {"train_images": "train_augmentation", "aligner_images": "aligner_augmentation"}[stream]
    pixels = varied(config, augmentation, step, batch, dataset.normalised("train", rows, torch.float64))
    return pixels, torch.from_numpy(dataset.labels("train")[rows])


def synthetic_batch(config: RunConfig, images_KICHW: NDArray[Any], batch: int) -> tuple[Tensor, Tensor]:
    """24 decoded images in three batches of 8 an epoch."""
    decoded = torch.cat([decode(torch.tensor(images), 2) for images in images_KICHW])
    epoch, position = divmod(batch, 3)
    order = torch.from_numpy(
        Key(config.seed, "train_images", batch=epoch).numpy().permutation(24)[8 * position : 8 * position + 8]
    )
    return varied(config, "train_augmentation", 0, batch, decoded[order]), torch.arange(3).repeat_interleave(8)[order]


def relative_error(found: list[State], expected: list[JointMember], group: str) -> float:
    """Largest difference of any tensor, relative to its largest entry."""
    errors = []
    for state, member in zip(found, expected, strict=True):
        wanted: dict[str, Tensor] = {**dict(member.network.named_parameters())} if group == "network" else {}
        for tap, (weight, bias) in enumerate(member.affine if group == "aligner" else []):
            wanted |= {f"affine.{tap}.weight": weight, f"affine.{tap}.bias": bias}
        if group == "aligner" and member.mixing is not None:
            wanted["mixing"] = member.mixing
        for name, tensor in wanted.items():
            array = tensor.detach().numpy()
            errors.append(np.abs(state.arrays[f"{group}/{name}"] - array).max() / np.abs(array).max())
    return float(max(errors))


@pytest.mark.parametrize("agreement", ["mse", "standardised"])
@pytest.mark.parametrize("names", POOLS)
def test_aligners_are_those_of_one_joint_training(
    names: tuple[str, ...], agreement: str, three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = configuration(three_digits_config, names, "none", agreement)
    run = started(config, three_digits, tmp_path)
    joint = run.joint(three_digits)
    networks = run.states()
    run.coordinator._align(run.coordinator.plan(0))

    leaves = [part.requires_grad_() for member in joint for pair in member.affine for part in pair]
    leaves += [member.mixing.requires_grad_() for member in joint if member.mixing is not None]
    for member in joint:
        member.network.eval()
    own = [replace(member, standard="batch" if agreement == "standardised" else None) for member in joint]
    batches = [real_batch(config, three_digits, "aligner_images", 24, 0, batch)[0] for batch in range(3)]
    with torch.no_grad():
        before = float(disagreement(own, batches[0]))
    adam = torch.optim.Adam(leaves, lr=0.01)
    for images in batches:
        adam.zero_grad()
        disagreement(own, images).backward()
        adam.step()
    # Biases fall out of standardised features: their gradient is 0 but for rounding, which Adam
    # divides by its epsilon of 1e-8.
    assert relative_error(run.states(), joint, "aligner") < (EXACT if agreement == "mse" else 1e-7)
    with torch.no_grad():
        after = float(disagreement(own, batches[0]))
    agreed = [worker.processes[0].member.agreed for worker in run.pool.workers]
    assert sum(found["before"] for found in agreed) == pytest.approx(before, rel=1e-9)
    assert sum(found["after"] for found in agreed) == pytest.approx(after, rel=1e-9)
    assert after < before
    for state, old in zip(run.states(), networks, strict=True):
        assert all(np.array_equal(state.arrays[name], old.arrays[name]) for name in old.arrays if name.startswith("network/"))


@pytest.mark.parametrize("agreement", ["mse", "standardised"])
@pytest.mark.parametrize("training", ["real", "synthetic"])
@pytest.mark.parametrize("names", POOLS)
def test_networks_are_those_of_one_joint_training(
    names: tuple[str, ...],
    training: str,
    agreement: str,
    three_digits: ImageDataset,
    three_digits_config: DataConfig,
    tmp_path: Path,
) -> None:
    config = configuration(three_digits_config, names, training, agreement)
    run = started(config, three_digits, tmp_path)
    plan = run.coordinator.plan(0)
    run.coordinator._align(plan)
    joint = run.joint(three_digits)
    images_KICHW = run.pool.server.snapshot().images_KICHW
    plain = [joint_member(config, three_digits, index, state) for index, state in enumerate(run.states())]
    run.coordinator._train(plan, Snapshot(1, images_KICHW))

    assert plan.training_batches == (2 if training == "real" else 6)
    for batch in range(plan.training_batches):
        if training == "real":
            images, labels = real_batch(config, three_digits, "train_images", 16, 0, batch)
        else:
            images, labels = synthetic_batch(config, images_KICHW, batch)
        for together, some in ((True, joint), (False, plain)):
            parameters = [parameter for member in some for parameter in member.network.parameters()]
            loss = torch.stack([F.cross_entropy(member.network(images), labels) for member in some]).sum()
            loss = loss + disagreement(some, images) if together else loss
            with torch.no_grad():
                for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.sub_(0.1 * gradient)
    assert relative_error(run.states(), joint, "network") < EXACT
    assert relative_error(run.states(), plain, "network") > 1e-6, "L_MD changed nothing"
