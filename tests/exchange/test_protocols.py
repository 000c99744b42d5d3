"""Which replica and which shard does what, and in which calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from parity.runs import step_plan

from hmdc_ray.exchange.protocols import ADDING_CALLS, MEMBERS_PER_CALL, ServerHandle, WorkerHandle

PLAN = step_plan()


class Calls(list[tuple[Any, ...]]):
    """Notes the calls; each returns its process."""

    def __call__(self, process: str, verb: str, *arguments: object, returns: int = 1) -> Any:
        self.append((process, verb, *arguments))
        return (process,) * returns if returns > 1 else process

    def verbs(self, process: str) -> list[str]:
        return [verb for called, verb, *_ in self if called == process]


def replicas(processes: str) -> tuple[WorkerHandle, Calls, list[Any]]:
    """A member, the calls to its processes, and what the others than the first answer."""
    calls, others = Calls(), list[Any]()
    return WorkerHandle(processes, calls, others), calls, others


def test_chunks_of_classes_go_round_and_each_stays_with_its_replica() -> None:
    together, calls, _ = replicas("ab")
    plan = replace(PLAN, chunks=((0,), (1,), (2,)))
    for labels, expected in zip(plan.chunks, "aba", strict=True):
        assert together.features(plan, labels, None) == expected
        assert together.match(plan, labels, None, None) == (expected,) * 3
        assert together.pull_back(plan, labels, None) == expected
    assert len(calls) == 3 * len(plan.chunks)


def test_all_begin_train_and_are_restored_alike_and_the_first_speaks_for_them() -> None:
    together, calls, others = replicas("abc")
    anything = None
    for result in (
        together.begin(1),
        together.renew(1),
        together.align(1, []),
        together.select(PLAN, anything),
        together.train(PLAN, anything),
        together.training_features(PLAN, 0, anything),
        together.training_step(PLAN, anything),
        together.aligner_features(PLAN, 0),
        together.aligner_step(PLAN, 0, anything),
        together.restore(anything),
    ):
        assert result == "a"
    assert calls.verbs("a") == calls.verbs("b") == calls.verbs("c")
    assert len(calls.verbs("a")) == 10
    assert others == ["b", "c"] * 8  # all but features


def test_what_one_can_do_alone_the_first_does() -> None:
    together, calls, others = replicas("abc")
    found = [together.initial_images(), together.choose(PLAN), together.selection(PLAN), together.state()]
    assert [*found, together.probe_features(PLAN), together.probe(PLAN, None)] == ["a"] * 6
    assert calls.verbs("a") == [
        "member.initial_images",
        "member.choose",
        "member.current_selection",
        "member.state",
        "alignment.probe_features",
        "alignment.probe",
    ]
    assert len(calls) == 6 and others == []


@pytest.mark.parametrize(
    ("members", "size"), [(1, 1), (ADDING_CALLS, 1), (2 * ADDING_CALLS + 1, 3), (9 * ADDING_CALLS, MEMBERS_PER_CALL)]
)
def test_the_server_takes_a_few_of_many_members_in_each_call_and_all_in_order(members: int, size: int) -> None:
    calls = Calls()
    server = ServerHandle("ab", calls, [(0, 1), (2,)])
    sent: list[Any] = [f"member {number}" for number in range(members)]
    for call, add, form in (
        (server.consensus, "add_features", "form_consensus"),
        (server.share, "add_cotangents", "mean_cotangents"),
        (server.balance_gradients, "add_gradients", "balance_chunk"),
    ):
        for labels, holder in ((0, 1), "a"), ((2,), "b"):
            calls.clear()
            assert call(PLAN, labels, *sent) == holder
            expected = [(holder, add, PLAN, first, *sent[first : first + size]) for first in range(0, members, size)]
            assert calls == [*expected, (holder, form, PLAN, *[holder] * len(expected))]


def test_shards_begin_and_are_restored_alike_and_the_first_joins_and_saves() -> None:
    calls = Calls()
    server = ServerHandle("ab", calls, [(0, 1), (2,)])
    results = [server.begin(0, (0,), []), server.renewed(0), server.snapshot(), server.state(), server.restore(None, True)]
    assert [*results, *server.apply(PLAN), server.save(1, ("server",), None), server.saved(1, "server")] == ["a"] * 9
    alike = ["begin", "renewed", "snapshot", "state", "restore", "apply"]
    assert calls.verbs("b") == alike
    assert [verb for verb in calls.verbs("a") if verb != "joined"] == [*alike, "save", "saved"]
    assert calls.count(("a", "joined", "a", "b")) == 7
