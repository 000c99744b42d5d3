"""What a dry run says of the memory that a run will take."""

from __future__ import annotations

import io
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.runs import members
from rich.console import Console

from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.cli.dry_run import show_plan
from hmdc_ray.cli.expected_memory import PROCESS, ExpectedMemory, expected_memory
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.resources import given
from hmdc_ray.models import registry
from hmdc_ray.models.network import Network
from hmdc_ray.server.identity import identity


def configured(data: DataConfig, **sections: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "data": data,
        "pool": {"members": members("deep", "mlp")},
        "matching": {"mutual_distillation": True, "real_batch": 6},
        "evaluation": {"students": ["mlp"]},
    }
    return RunConfig.model_validate({**settings, **sections})


def expected(config: RunConfig, info: DatasetInfo) -> ExpectedMemory:
    return expected_memory(given(config), info)


def lines(config: RunConfig) -> list[str]:
    text = io.StringIO()
    show_plan(config, Path("out"), Console(file=text, width=400))
    shown = [line.strip() for line in text.getvalue().splitlines()]
    return shown[next(index for index, line in enumerate(shown) if line.startswith("memory ")) :]


def test_the_parts_are_added_up(three_digits: ImageDataset, three_digits_config: DataConfig) -> None:
    one = expected(configured(three_digits_config), three_digits.info)
    assert list(one.parts) == ["deep", "mlp", "server", "driver", "Ray", "shared files"]
    assert one.total == sum(one.parts.values()) and not one.on_gpus
    assert one.size is not None and (one.size.classes, one.size.fits) == (3, True)
    replicas = {"members": (members("deep")[0].model_copy(update={"replicas": 3}), *members("mlp"))}
    more = expected_memory(
        given(configured(three_digits_config, pool=replicas, cluster={"server_shards": 2})), three_digits.info
    )
    assert more.parts["deep"] == pytest.approx(3 * one.parts["deep"], rel=0.01)
    assert more.parts["server"] - one.parts["server"] == pytest.approx(PROCESS, rel=0.01)


def test_a_worker_is_what_it_measures_beside_its_process(three_digits: ImageDataset, three_digits_config: DataConfig) -> None:
    little = {"aligner_images": 2, "probe_every": 1000}  # so that nothing takes more than the matching
    matching = {"mutual_distillation": True, "real_batch": 6, **little}
    config = given(configured(three_digits_config, matching=matching)).config
    workers = [PoolWorker(index, config) for index in (0, 1)]
    deep = workers[0].measure([worker.member.taps for worker in workers]).footprint

    def predicted(classes: int) -> float:
        matching = {**config.matching.model_dump(), "classes_per_call": classes}
        return expected(configured(three_digits_config, matching=matching), three_digits.info).parts["deep"]

    assert predicted(3) - predicted(1) == 2 * deep.kept
    assert PROCESS < predicted(1) - deep.matching < PROCESS + 10**6


def test_a_dry_run_says_how_many_classes_go_into_a_call(three_digits_config: DataConfig) -> None:
    total, chosen = lines(configured(three_digits_config))
    assert " GB at most while images are learned, on this machine alone: deep 0.36" in total
    assert ", Ray 0.4 GB, shared files 0.35 GB" in total
    assert chosen.startswith("classes per call: 3 of 3, chosen so that each worker stays under ")
    _, chosen, short = lines(configured(three_digits_config, cluster={"memory_per_worker": 0.25}))
    assert (
        chosen == "classes per call: 1 of 3" and "more than the limit of 0.25 GB that cluster.memory_per_worker sets" in short
    )
    fixed = configured(three_digits_config, matching={"mutual_distillation": True, "classes_per_call": 2})
    assert len(lines(fixed)) == 1  # nothing is chosen


def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_all_else_is_predicted(three_digits_config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpu(monkeypatch)
    all_there = {"members": members("deep", "mlp", num_gpus=0.5)}
    total, later = lines(configured(three_digits_config, pool=all_there))
    assert later == "classes per call: chosen when the run starts, because there is no GPU here for deep, mlp"
    assert " this machine alone: deep 0.36 GB, mlp 0.36 GB, server 0.36" in total and ", driver 0.54 GB, Ray 0.4" in total
    fixed = {"mutual_distillation": True, "real_batch": 6, "classes_per_call": 2}
    total, unknown = lines(configured(three_digits_config, pool=all_there, matching=fixed))
    assert unknown == "of GPUs: not known, because there is no GPU here for deep, mlp"
    assert " server 0.36" in total


def test_members_on_cpus_are_predicted_beside_those_on_a_gpu_that_is_not_here(
    three_digits: ImageDataset, three_digits_config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_gpu(monkeypatch)
    fixed = {"mutual_distillation": True, "real_batch": 6, "classes_per_call": 2}
    mixed = {"members": (*members("deep"), *members("mlp", num_gpus=1, replicas=2))}
    cpus = {"members": (*members("deep"), *members("mlp", replicas=2))}
    found, reference = (
        expected(configured(three_digits_config, pool=pool, matching=fixed), three_digits.info) for pool in (mixed, cpus)
    )
    assert (found.unknown, reference.unknown) == (("mlp",), ()) and found.size is None and not found.on_gpus
    for part in ("deep", "server", "driver", "Ray"):  # messages are the same
        assert found.parts[part] == pytest.approx(reference.parts[part], rel=1e-6)
    assert found.parts["mlp"] == 2 * PROCESS < reference.parts["mlp"]
    most = expected(configured(three_digits_config, pool=mixed), three_digits.info)
    assert most.size is None and most.parts["deep"] >= found.parts["deep"]


def test_networks_are_built_one_after_the_other(
    three_digits: ImageDataset, three_digits_config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a pool of three, in two rounds: to ask for their taps, and to measure."""
    alive: weakref.WeakSet[Network] = weakref.WeakSet()
    there: list[tuple[int, int]] = []
    build = registry.build

    def counted(*arguments: Any, **options: Any) -> Network:
        there.append((len(alive), len({network.architecture for network in alive})))
        network = build(*arguments, **options)
        alive.add(network)
        return network

    monkeypatch.setattr(registry, "build", counted)
    pool = {"members": members("deep", "mlp", "vit")}
    expected(configured(three_digits_config, pool=pool), three_digits.info)
    assert len(there) >= 6
    # A member that begins afresh has its network before until there is the next one.
    assert max(count for count, _ in there) <= 1 and max(kinds for _, kinds in there) <= 1
    assert not alive


def test_a_run_is_resumed_with_other_memory(three_digits: ImageDataset, three_digits_config: DataConfig) -> None:
    small = configured(three_digits_config, cluster={"memory_per_worker": 0.5})
    assert identity(small, three_digits.info) == identity(configured(three_digits_config), three_digits.info)
