"""Which replica does what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parity.runs import step_plan
from whole_runs import tiniest

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.replicas import Replicas
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator


class Recorded:
    """Stands for a worker: notes the calls, and answers with its number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append(verb)
            return (self.number,) * 3 if verb == "match" else self.number

        return call


def replicas(count: int) -> tuple[Any, list[Recorded], list[Any]]:
    """Replicas, their workers, and what the others than the first answer."""
    workers = [Recorded(number) for number in range(count)]
    others: list[Any] = []
    return Replicas(workers, others), workers, others  # type: ignore[arg-type]


def test_chunks_of_classes_go_round_and_each_stays_with_its_replica() -> None:
    together, workers, _ = replicas(2)
    plan = replace(step_plan(), chunks=((0,), (1,), (2,)))
    for position, labels in enumerate(plan.chunks):
        expected = position % 2
        assert together.features(plan, labels, None) == expected
        assert together.match(plan, labels, None, None) == (expected,) * 3
        assert together.pull_back(plan, labels, None) == expected
    assert len(workers[0].calls) + len(workers[1].calls) == 3 * len(plan.chunks)


def test_all_begin_train_and_are_restored_alike_and_the_first_speaks_for_them() -> None:
    together, workers, others = replicas(3)
    plan, anything = step_plan(), None
    for result in (
        together.begin(1),
        together.renew(1),
        together.align(1, []),
        together.select(plan, anything),
        together.train(plan, anything),
        together.training_features(plan, 0, anything),
        together.training_step(plan, anything),
        together.aligner_features(plan, 0),
        together.aligner_step(plan, 0, anything),
        together.restore(anything),
    ):
        assert result == 0
    assert workers[0].calls == workers[1].calls == workers[2].calls
    assert len(workers[0].calls) == 10
    assert others == [1, 2] * 8  # all but features


def test_what_one_can_do_alone_the_first_does() -> None:
    together, workers, others = replicas(3)
    plan = step_plan()
    assert (together.initial_images(), together.choose(plan), together.selection(plan), together.state()) == (0, 0, 0, 0)
    assert (together.probe_features(plan), together.probe(plan, None)) == (0, 0)
    assert workers[0].calls == ["initial_images", "choose", "selection", "state", "probe_features", "probe"]
    assert workers[1].calls == workers[2].calls == others == []


def test_what_fails_in_a_later_replica_alone_ends_the_run(ray_local: None, tmp_path: Path) -> None:
    """Else it would match its classes with a network that has missed an update."""
    convnet = {"architecture": "convnet", "options": {"width": 4, "depth": 1}, "replicas": 2}
    config = tiniest(tmp_path, pool={"members": [convnet, {"architecture": "lenet"}]})
    info = open_dataset(config.data).info
    with launch(config, info, tmp_path, lambda: None) as pool:
        coordinator = Coordinator(config, pool, classes=len(info.class_names), train_images=info.sizes["train"])
        done: list[int] = []

        def break_the_second(record: StepRecord) -> None:
            done.append(record.plan.version)
            actor = pool.workers[0].workers[1].actor
            pool.get([actor.__ray_call__.remote(lambda worker: setattr(worker.trainer, "step", lambda *_: 1 / 0))])

        with pytest.raises(ZeroDivisionError):
            coordinator.run(0, break_the_second)
    assert done == [0]
