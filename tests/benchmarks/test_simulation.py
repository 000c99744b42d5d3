"""Simulated members: messages like those of real ones, in turn, and a step of the real server with
them."""

from __future__ import annotations

import asyncio
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from whole_runs import tiniest

from benchmarks.simulation.__main__ import simulation
from benchmarks.simulation.measure import EXCHANGES, measured
from benchmarks.simulation.members import Members, Sizes
from benchmarks.simulation.run import Simulated, simulate
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.cli.console import run_alone
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.messages import Cotangents, Features, Gradients
from hmdc_ray.run.coordinator import Coordinator

SIZES = Sizes(images=(1, 1, 16, 16), real=3, synthetic=1, features=(2, 5, 4), seconds={})
QUICK = {"features": 0.01, "match": 0.02, "pull_back": 0.0}


def shapes(*messages: object) -> list[tuple[tuple[int, ...], np.dtype]]:
    found: list[tuple[tuple[int, ...], np.dtype]] = []
    for message in messages:
        arrays: list[np.ndarray | None] = []
        match message:
            case Features() | Cotangents():
                arrays = list(message.batches)
            case Gradients():
                sizes = message.sizes
                arrays = [message.classification_KICHW, message.distillation_KICHW]
                arrays += [sizes.magnitudes_K, sizes.sums_K, sizes.norms_K]
        found += [(array.shape, array.dtype) for array in arrays if array is not None]
    return found


def test_messages_are_those_of_a_real_member_in_shape_and_type(tmp_path: Path) -> None:
    config = tiniest(tmp_path)
    info = open_dataset(config.data).info
    pool = LocalPool(config, info, tmp_path)
    coordinator = Coordinator(config, pool, classes=3, train_images=info.sizes["train"])
    labels = (0, 2)
    plan = replace(coordinator.plan(0), chunks=(labels, (1,)))
    coordinator._begin(plan)
    features = [worker.features(plan, labels, pool.server.snapshot()) for worker in pool.workers]
    consensus = pool.server.consensus(plan, labels, *features)
    matched = [worker.match(plan, labels, pool.server.snapshot(), consensus) for worker in pool.workers]
    share = pool.server.share(plan, labels, *[cotangents for _, cotangents, _ in matched if cotangents is not None])
    nothing, cotangents, _ = matched[0]
    gradients = pool.workers[0].pull_back(plan, labels, share)
    assert nothing is None

    real, synthetic = (batch.shape for batch in features[0].batches[:2])
    layers, tokens, channels = real[1:]
    images = gradients.classification_KICHW.shape
    sizes = Sizes((images[1], images[2], images[3], images[4]), real[0], synthetic[0], (layers, tokens, channels), QUICK)

    async def simulated() -> list[object]:
        members = Members(sizes)
        sent: list[object] = [await members.features(0, 0, 0, labels)]
        sent += (await members.match(0, 1, 0, labels))[:2]
        return [*sent, await members.pull_back(0, 2, 0, labels)]

    assert shapes(*asyncio.run(simulated())) == shapes(features[0], nothing, cotangents, gradients)


def test_what_a_member_computes_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command up to the pool, in this process."""
    found: list[Sizes] = []

    def noted(config: RunConfig, members: int, classes: int, sizes: Sizes, *_: object) -> Simulated:
        found.append(sizes)
        return Simulated(members, 1.0, 0.5, 0.1, 0.1, 1, 1, 1, 1)

    monkeypatch.setattr("benchmarks.simulation.run.simulate", noted)
    monkeypatch.setattr(sys, "argv", ["simulation", "--members", "2", "--compute", "0.25", "--side", "16"])
    with pytest.raises(SystemExit) as ended:
        run_alone(simulation)
    assert ended.value.code == 0
    assert found[0].seconds.keys() == EXCHANGES.keys() and sum(found[0].seconds.values()) == 0.25
    assert found[0].images == (50, 3, 16, 16)


def test_a_member_does_its_calls_one_after_the_other_in_the_order_in_which_they_were_made() -> None:
    order: list[tuple[int, int]] = []

    async def called() -> None:
        members = Members(Sizes(**{**SIZES.__dict__, "seconds": QUICK}))

        async def call(member: int, turn: int) -> None:
            await members.features(member, turn, 0, (0,))
            order.append((member, turn))

        await asyncio.gather(*(call(member, turn) for turn in (2, 0, 1) for member in (0, 1)))

    asyncio.run(called())
    assert [turn for member, turn in order if member == 0] == [turn for member, turn in order if member == 1] == [0, 1, 2]
    assert {order[0][0], order[1][0]} == {0, 1}  # members do not wait for each other


def test_a_simulated_step_takes_as_long_as_members_compute_and_what_is_around_it(ray_local: None, tmp_path: Path) -> None:
    config = tiniest(tmp_path, matching={"real_batch": 4}, cluster={"server_shards": 2})
    lines: list[str] = []
    sizes, taps = measured(config, 16, 1, lines.append)
    assert sizes.images == (1, 3, 16, 16) and (sizes.real, sizes.synthetic) == (4, 1)
    assert all(seconds > 0 for seconds in sizes.seconds.values())
    waits = {"features": 0.1, "match": 0.2, "pull_back": 0.1}
    found = simulate(config, 3, 2, Sizes(**{**sizes.__dict__, "seconds": waits}), taps, lines.append)
    assert math.isclose(found.computing, 0.8)
    assert found.seconds > found.computing and 0 < found.outside < 1
    assert 0 < found.busiest_seconds < found.server_seconds < found.seconds
    assert found.busiest_share < found.server_share
    values = 2 * math.prod(sizes.images) + (4 + 2 * 1) * math.prod(sizes.features)
    assert found.received_bytes == 3 * 2 * values * 4
