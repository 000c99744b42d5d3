"""With GBM and MD off, a pool from which one member is drawn is plain DC: its gradients, and its
steps of SGD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.config.presets import preset
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.models import build
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.seeding import Key
from parity.joint import RecordingPool

STEPS = 3


def reduced(data: DataConfig) -> RunConfig:
    """Preset ``model-pool`` with narrow networks in float64, two iterations of three steps, the
    main member's turn first."""
    settings = preset("model-pool").model_dump() | {"data": data.model_dump(), "seed": 4}
    for member in settings["pool"]["members"]:
        member["options"] = {"width": 4, "depth": 2}
    settings["pool"] |= {"warmup": 1}
    settings["pool"]["members"][0]["probability"], settings["pool"]["members"][1]["probability"] = 0.0, 1.0
    settings["matching"] |= {"precision": "float64", "real_batch": 6}
    settings["images"] |= {"ipc": 2}
    settings["schedule"] |= {"iterations": 2, "steps": STEPS, "inner_epochs": 2}
    return RunConfig.model_validate(settings)


def test_gradients_and_images_are_those_of_plain_dc(
    three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = reduced(three_digits_config)
    local = LocalPool(config, three_digits.info, tmp_path)
    pool = RecordingPool(local)
    coordinator = Coordinator(config, pool, classes=3, train_images=three_digits.info.sizes["train"])
    images = torch.tensor(local.server.snapshot().images_KICHW, requires_grad=True)
    optimiser = torch.optim.SGD([images], lr=config.images.learning_rate, momentum=config.images.momentum)
    drawn = []

    def after_step(record: StepRecord) -> None:
        drawn.append(record.plan.members)
        ((gradients,),) = pool.collected
        pool.collected.clear()
        assert images.grad is not None
        np.testing.assert_allclose(gradients.classification_KICHW, images.grad.numpy(), rtol=1e-9, atol=1e-12)
        optimiser.step()
        np.testing.assert_allclose(record.snapshot.images_KICHW, images.detach().numpy(), rtol=1e-9, atol=1e-12)
        if record.plan.version + 1 < 2 * STEPS:
            prepare(record.plan.version + 1)

    def prepare(version: int) -> None:
        """The gradient that DC computes before the pool takes the step; training has put the
        weights in place."""
        optimiser.zero_grad()
        dc_distance(config, three_digits, local, coordinator, version, images).backward()

    prepare(0)
    coordinator.run(0, after_step)
    assert drawn == [(0,)] * STEPS + [(1,)] * STEPS


def dc_distance(
    config: RunConfig, dataset: ImageDataset, pool: LocalPool, coordinator: Coordinator, version: int, images: torch.Tensor
) -> torch.Tensor:
    """DC's loss (arXiv 2006.05929, equations 7 and 8) over all classes, for the member whose turn
    it is, in one graph."""
    plan = coordinator.plan(version)
    (index,) = plan.members
    member = pool.workers[index].processes[0].member
    if plan.step == 0:
        member.begin(plan.iteration)  # keyed: the pool will make the same network
    member.prepare(plan)
    shape, key = dataset.info.shape, Key(0, "network")
    network = build("convnet", {"width": 4, "depth": 2, **member.options}, shape, 3, key).double()
    network.load_state_dict(member.network.state_dict())
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    total = torch.zeros((), dtype=torch.float64)
    for label in range(3):
        rows = dataset.class_rows("train", label)
        draw = Key(config.seed, "real_images", iteration=plan.iteration, step=plan.step, label=label).numpy()
        real = dataset.normalised("train", rows[draw.permutation(len(rows))[:6]], torch.float64)
        found = [
            torch.autograd.grad(
                torch.nn.functional.cross_entropy(network(batch), torch.full((len(batch),), label)),
                list(network.parameters()),
                create_graph=True,
            )
            for batch in (real, images[label])
        ]
        for real_gradient, synthetic_gradient in zip(*found, strict=True):
            if real_gradient.dim() > 1:
                rows_r, rows_s = real_gradient.detach().flatten(1), synthetic_gradient.flatten(1)
                cosine = (rows_r * rows_s).sum(1) / (rows_r.norm(dim=1) * rows_s.norm(dim=1) + 1e-6)
                total = total + (1 - cosine).sum()
    return total
