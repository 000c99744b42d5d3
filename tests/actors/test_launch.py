"""Real Ray actors compute what one joint autograd graph gives; each holds its own GPU; other
versions are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from parity.joint import StepGradients, joint_and_split, relative_error
from parity.runs import members, parity_run

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.nodes import cluster_nodes
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.resources import resolve
from hmdc_ray.run.coordinator import Coordinator

EXACT = 1e-9


@dataclass(frozen=True)
class FinishedRun:
    """Actors that have done all steps of a run, still alive, and the gradients of the last step."""

    pool: RayPool
    coordinator: Coordinator
    joint: StepGradients
    split: StepGradients


CASES = [(("shallow", "deep"), "mse", "real"), (("shallow", "mlp", "deep"), "standardised", "synthetic")]


@pytest.fixture(scope="module", params=CASES, ids=["two", "three"])
def finished(
    request: pytest.FixtureRequest,
    ray_local: None,
    three_digits: ImageDataset,
    three_digits_config: DataConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FinishedRun]:
    names, agreement, training = request.param
    drawn, schedule = members(*names), {"training": training}
    config = parity_run(three_digits_config, drawn, schedule, classes_per_call=2, agreement=agreement)
    folder = tmp_path_factory.mktemp("run")
    with launch(resolve(config, cluster_nodes(), lambda: []), three_digits.info, folder, check=lambda: None) as pool:
        joint, split = joint_and_split(config, pool, three_digits)
        coordinator = Coordinator(config, pool, classes=3, train_images=three_digits.info.sizes["train"])
        yield FinishedRun(pool, coordinator, joint, split)


def test_gradients_through_actors_are_those_of_the_joint_graph(finished: FinishedRun) -> None:
    joint, split = finished.joint, finished.split
    assert split.distillation is not None and joint.distillation is not None
    assert relative_error(split.distillation, joint.distillation) < EXACT
    assert len(split.members) == len(joint.members) == len(finished.pool.workers)
    for found, expected in zip(split.members, joint.members, strict=True):
        assert relative_error(found, expected) < EXACT
    assert relative_error(split.after - split.before, joint.after - joint.before) < EXACT


def test_every_member_holds_another_gpu(finished: FinishedRun) -> None:
    gpu_ids = [description.gpu_ids for description in finished.pool.descriptions]
    assert all(len(ids) == 1 for ids in gpu_ids)
    assert len(set(gpu_ids)) == len(finished.pool.workers)
    assert len({description.pid for description in finished.pool.descriptions}) == len(finished.pool.workers)


def test_a_gradient_of_another_version_is_refused_with_both_numbers(finished: FinishedRun) -> None:
    pool, server = finished.pool, finished.pool.server
    (snapshot,) = pool.get([server.snapshot()])
    plan, following = (finished.coordinator.plan(snapshot.version + later) for later in (0, 1))
    labels = (0, 1, 2)
    plan, following = replace(plan, chunks=(labels,)), replace(following, chunks=(labels,))
    pool.get([*(worker.begin(plan.iteration) for worker in pool.workers), server.begin(plan.iteration, plan.members, ())])
    stale = [worker.match(plan, labels, snapshot, None)[0] for worker in pool.workers]
    pool.get([server.balance_gradients(plan, labels, *stale), *server.apply(plan)])

    refused = server.balance_gradients(following, labels, *stale)
    with pytest.raises(RuntimeError, match="a gradient belongs to image version 2, but the images are at version 3"):
        pool.get([refused])
