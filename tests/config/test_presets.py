"""Every preset by name: as the papers state it, and a few steps of each at reduced size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.config.presets import PRESETS, describe, preset
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.schedule import draw_members
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator

SMALL: dict[str, dict[str, Any]] = {
    "convnet": {"width": 4, "depth": 2},
    "vit": {"patch_size": 4, "width": 8, "depth": 2, "heads": 2},
    "alexnet": {"width": 4},
    "lenet": {},
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_a_line_and_its_own_name(name: str) -> None:
    assert preset(name).name == name
    assert describe(name).endswith(".")


@pytest.mark.parametrize("name", ["dc", "model-pool", "model-pool-released"])
@pytest.mark.parametrize(
    ("ipc", "steps", "epochs"),
    [(1, 1, 10), (10, 10, 50), (20, 20, 25), (30, 30, 20), (40, 40, 15), (50, 50, 10), (5, 1, 10), (60, 50, 10)],
)
def test_gradient_matching_takes_its_loops_from_the_images_per_class(name: str, ipc: int, steps: int, epochs: int) -> None:
    config = preset(name, ipc)
    assert (config.images.ipc, config.schedule.steps, config.schedule.inner_epochs) == (ipc, steps, epochs)
    assert (config.matching.metric, config.images.normalise, config.images.clip) == ("cosine", "none", False)
    assert (config.matching.real_batch, config.matching.sampler, config.matching.augmentation) == (256, "random", "none")
    assert (config.images.learning_rate, config.images.momentum, config.schedule.iterations) == (0.1, 0.5, 1000)
    assert (config.balance.mode, config.matching.mutual_distillation) == ("none", False)
    assert {member.learning_rate for member in config.pool.members} == {0.01}


@pytest.mark.parametrize("name", ["dc", "model-pool", "model-pool-released"])
def test_students_of_gradient_matching_are_those_of_the_papers_tables(name: str) -> None:
    students = [student.architecture for student in preset(name).evaluation.students]
    assert students == ["convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18"]


@pytest.mark.parametrize("name", ["hmdc", "hmdc-224"])
def test_hmdc_is_the_papers(name: str) -> None:
    config = preset(name)
    assert (config.matching.metric, config.images.normalise, config.images.clip) == ("mse", "max", True)
    assert (config.images.initialise, config.images.formation, config.matching.augmentation) == ("kmeans", 2, "idc")
    assert (config.matching.real_batch, config.matching.sampler, config.matching.sampler_period) == (128, "kmeans", 10)
    assert (config.schedule.iterations, config.schedule.steps, config.schedule.real_images) == (100, 100, 2000)
    assert (config.images.learning_rate, config.images.momentum) == (5e-3, 0.5)
    assert [member.learning_rate for member in config.pool.members] == [1e-2, 1e-3]
    assert (config.balance.mode, config.balance.period, config.matching.mutual_distillation) == ("sum", 10, True)
    assert config.pool.drawn == 2


def test_the_model_pool_draws_at_its_rates_after_the_warmup() -> None:
    """Chi-square of 1000 iterations after the warm-up, at a fixed seed."""
    pool = preset("model-pool").pool
    names = [member.name for member in pool.members]
    draws = [draw_members(pool, 0, iteration) for iteration in range(1501)]
    assert set(draws[:501]) == {(names.index("convnet"),)}
    counts = Counter(member for (member,) in draws[501:])
    assert chisquare([counts[0], counts[1]], [900, 100]).pvalue > 0.01


@pytest.mark.parametrize("name", ["model-pool", "model-pool-released"])
def test_the_model_pool_warms_up_in_iterations_0_to_500(name: str) -> None:
    pool = preset(name).pool
    seeds = range(60)  # of which one in ten draws the random ConvNet, once it may
    assert not any(draw_members(pool, seed, 500) == (1,) for seed in seeds)
    assert any(draw_members(pool, seed, 501) == (1,) for seed in seeds)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_learns(name: str, three_digits_config: DataConfig, tmp_path: Path) -> None:
    """A few steps on 16x16 images with narrow networks; timm's ViT is stood in for by its family at
    the images' own size."""
    config = reduced(name, three_digits_config.model_copy(update={"image_size": (16, 16)}))
    info = open_dataset(config.data).info
    pool = LocalPool(config, info, tmp_path)
    coordinator = Coordinator(config, pool, classes=3, train_images=info.sizes["train"])
    records: list[StepRecord] = []
    before = pool.server.snapshot().images_KICHW
    coordinator.run(0, records.append)
    after = pool.server.snapshot().images_KICHW
    assert np.isfinite(after).all() and (before != after).any(axis=(1, 2, 3, 4)).all()
    members = {member for record in records for member in record.members}
    assert members == {member.name for member in config.pool.members}
    assert not any(record.left_out for record in records)
    targets = {metric.rpartition("_")[2] for metric in records[-1].metrics if metric.startswith("gbm/weight_")}
    assert ("distillation" in targets) == config.matching.mutual_distillation


def reduced(name: str, data: DataConfig) -> RunConfig:
    """The preset with all that makes it what it is, at a size for a test: both members of a draw
    get their turn."""
    settings = preset(name, ipc=1).model_dump() | {"data": data.model_dump()}
    for member in settings["pool"]["members"]:
        if member["architecture"].startswith("timm:"):
            member |= {"architecture": "vit", "weights": "scratch"}
        member["options"] = SMALL[member["architecture"]]
    settings["pool"]["warmup"] = min(settings["pool"]["warmup"], 1)
    if settings["pool"]["active"] == 1:
        settings["pool"]["members"][0]["probability"] = settings["pool"]["members"][1]["probability"] = 0.5
    settings["matching"] |= {"real_batch": 6}
    iterations = 6 if settings["pool"]["active"] == 1 else 1
    settings["schedule"] |= {"iterations": iterations, "steps": 2, "inner_epochs": 1, "real_images": 16, "batch": 8}
    return RunConfig.model_validate(settings)
