"""The order of events of the round loop, with fakes that only write down what they are asked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.errors import LostProcessError, RunError
from hmdc_ray.exchange.messages import BalanceRecord, MemberRecord, MemberTaps, check_version
from hmdc_ray.exchange.recovery import HEALTH, Healed, Health
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator

Call = tuple[str, ...]


class FakeWorker:
    """Every verb returns a reference, a string that says where it comes from, and notes the
    references that it was given."""

    def __init__(self, name: str, log: list[Call]) -> None:
        self.name = name
        self.log = log

    def __getattr__(self, verb: str) -> Any:
        def call(*arguments: Any) -> Any:
            references = [argument for argument in arguments if isinstance(argument, str)]
            self.log.append((self.name, verb, *references))
            result = f"{self.name}.{verb}"
            return (f"{result}.gradients", f"{result}.cotangents", f"{result}.record") if verb == "match" else result

        return call


class FakeServer(FakeWorker):
    """Also counts versions, and refuses a plan for another one, as the real server does."""

    def __init__(self, log: list[Call], version: int = 0) -> None:
        super().__init__("server", log)
        self.version = version
        self.saves: list[tuple[int, tuple[str, ...]]] = []
        self.labels: list[tuple[int, ...]] = []

    def snapshot(self) -> str:
        self.log.append(("server", "snapshot"))
        return f"images{self.version}"

    def consensus(self, plan: Any, labels: tuple[int, ...], *features: str) -> str:
        self.labels.append(labels)
        self.log.append(("server", "consensus", *features))
        return "server.consensus"

    def balance_gradients(self, plan: Any, labels: tuple[int, ...], *gradients: str) -> str:
        self.log.append(("server", "balance_gradients", *gradients))
        return f"server.balance_gradients.{len(gradients)}"

    def apply(self, plan: Any) -> tuple[str, str]:
        check_version("a step", plan.version, self.version)
        self.log.append(("server", "apply"))
        self.version += 1
        return f"images{self.version}", "applied"

    def saved(self, version: int, name: str) -> str:
        self.log.append(("server", "saved", str(version), name))
        return f"saved{version}.{name}"

    def state(self) -> str:
        return f"cut{self.version}"

    def restore(self, state: str, with_balance: bool) -> str:
        self.log.append(("server", "restore", state, "with balance" if with_balance else "balance anew"))
        self.version = int(state.removeprefix("saved").removeprefix("cut").partition(".")[0])
        return "restored"

    def save(self, version: int, names: tuple[str, ...], *states: str) -> str:
        self.log.append(("server", "save", *[state for state in states if isinstance(state, str)]))
        self.saves.append((version, names))
        return "saved"


class FakePool:
    def __init__(self, names: Sequence[str], classes: int) -> None:
        self.log: list[Call] = []
        self.workers: list[Any] = [FakeWorker(name, self.log) for name in names]
        self.server: Any = FakeServer(self.log)
        self.classes = classes
        self.faults: list[str] = []
        self.healed: list[Healed] = []
        self.waits: list[tuple[int, list[Any]]] = []
        """Calls made so far, and what is waited for."""
        self.bad: dict[int, float] = {}
        """Norm of a target's gradient by its column, where it is not finite."""

    def keep(self, references: Sequence[str]) -> None:
        """References are only names."""

    def heal(self) -> Healed:
        self.log.append(("pool", "heal"))
        return self.healed.pop(0)

    def get(self, references: Sequence[Any]) -> list[Any]:
        if self.faults and any(reference == self.faults[0] for reference in references):
            raise LostProcessError(f"{self.faults.pop(0)} is gone")
        self.waits.append((len(self.log), list(references)))
        return [self._value(reference) for reference in references]

    def _value(self, reference: Any) -> Any:
        if not isinstance(reference, str):
            return reference
        if reference.endswith(f".{HEALTH}"):
            return Health().state()
        if reference == "applied":
            return ()
        worker, _, verb = reference.partition(" ")[0].partition(".")
        if verb == "begin":
            return MemberTaps(worker, (), {"norm": "batch"} if worker == "b" else {})
        if reference.startswith("server.balance_gradients"):
            targets = int(verb.split(".")[1]) + 1
            numbers = np.arange(1.0, targets + 1) * np.ones((self.classes, 1))
            usable = np.ones((self.classes, targets), dtype=bool)
            usable[0, -1 if targets == 1 else 1] = False
            norms = 1000 * numbers
            for column, norm in self.bad.items():
                norms[0, column] = norm
            return BalanceRecord(tuple(range(self.classes)), numbers, 10 * numbers, 100 * numbers, norms, usable)
        if verb == "match.record":
            return MemberRecord({"classification": 2.0 if worker == "a" else 4.0}, {"forward": 0.5})
        if verb == "probe":
            return MemberRecord({"agreement/probe_accuracy": 0.75})
        if verb == "aligner_step":
            return MemberRecord({}, {"aligner_training": 0.125})
        if verb in ("training_step", "train"):
            return MemberRecord({"training": 1.0}, {"training": 0.25})
        return reference


def run_of(
    names: Sequence[str] = ("a", "b"), *, classes: int = 2, distil: bool = True, **sections: Any
) -> tuple[Coordinator, FakePool]:
    settings = {
        "pool": {"members": [{"name": name, "architecture": "convnet"} for name in names], **sections.get("pool", {})},
        "matching": {"mutual_distillation": distil, **sections.get("matching", {})},
        "schedule": {"iterations": 1, "steps": 1, **sections.get("schedule", {})},
        "cluster": sections.get("cluster", {}),
    }
    pool = FakePool(names, classes)
    return Coordinator(RunConfig.model_validate(settings), pool, classes=classes, train_images=20), pool


def ran(coordinator: Coordinator, start: int = 0) -> list[StepRecord]:
    records: list[StepRecord] = []
    coordinator.run(start, records.append)
    return records


START = [("server", "restore", "cut0", "balance anew"), ("server", "snapshot")]


def begin(names: str = "ab") -> list[Call]:
    return [*((name, "begin") for name in names), ("server", "begin"), *((name, "align") for name in names)]


BEGIN = begin()


def exchange(images: str, names: str = "ab") -> list[Call]:
    return [
        *((name, "features", images) for name in names),
        ("server", "consensus", *(f"{name}.features" for name in names)),
        *((name, "match", images, "server.consensus") for name in names),
        ("server", "share", *(f"{name}.match.cotangents" for name in names)),
        *((name, "pull_back", "server.share") for name in names),
        ("server", "balance_gradients", *(f"{name}.pull_back" for name in names)),
    ]


def batch(features: str, step: str, *images: str, names: str = "ab") -> list[Call]:
    return [
        *((name, features, *images) for name in names),
        ("server", "consensus", *(f"{name}.{features}" for name in names)),
        *((name, step, "server.consensus") for name in names),
    ]


def aligning(batches: int = 1, names: str = "ab") -> list[Call]:
    """Training of the aligners, whose last exchange measures."""
    return batch("aligner_features", "aligner_step", names=names) * (batches + 1)


def test_a_step_with_distillation_takes_three_exchanges() -> None:
    coordinator, pool = run_of()
    ran(coordinator)
    assert pool.log == [*START, *BEGIN, *aligning(), *exchange("images0"), ("server", "apply")]


def test_detached_distillation_takes_two() -> None:
    coordinator, pool = run_of(matching={"peer_gradient": "detached"})
    ran(coordinator)
    verbs = {verb for _, verb, *_ in pool.log}
    assert "consensus" in verbs and not verbs & {"share", "pull_back"}
    assert ("server", "balance_gradients", "a.match.gradients", "b.match.gradients") in pool.log


@pytest.mark.parametrize(("names", "distil"), [(("a", "b"), False), (("a",), True)], ids=["off", "one member"])
def test_without_distillation_matching_is_the_only_exchange(names: tuple[str, ...], distil: bool) -> None:
    coordinator, pool = run_of(names, distil=distil)
    (record,) = ran(coordinator)
    assert pool.log == [
        *START,
        *[(name, "begin") for name in names],
        ("server", "begin"),
        *[(name, "match", "images0") for name in names],
        ("server", "balance_gradients", *[f"{name}.match.gradients" for name in names]),
        ("server", "apply"),
    ]
    assert not any(name.endswith("_distillation") for name in record.metrics)


def test_chunks_of_classes_go_through_all_exchanges_one_after_the_other() -> None:
    coordinator, pool = run_of(classes=5, matching={"classes_per_call": 2})
    ran(coordinator)
    assert pool.log == [*START, *BEGIN, *aligning(), *(exchange("images0") * 3), ("server", "apply")]


@pytest.mark.parametrize(
    ("settings", "ahead"),
    [({}, 2), ({"cluster": {"server_shards": 3}}, 6), ({"replicas": 2}, 4)],
    ids=["one process each", "three shards", "two replicas"],
)
def test_processes_are_given_two_chunks_ahead_of_the_one_that_they_work_on(settings: dict[str, Any], ahead: int) -> None:
    members = [{"name": name, "architecture": "convnet", "replicas": settings.get("replicas", 1)} for name in "ab"]
    cluster = settings.get("cluster", {})
    coordinator, pool = run_of(classes=9, matching={"classes_per_call": 1}, pool={"members": members}, cluster=cluster)
    number_results(pool, [pool.server], "balance_gradients")
    ran(coordinator)
    waited = [(calls.count("balance_gradients"), waited) for calls, waited in waits(pool, "server", ".balance_gradients")]
    assert waited == [(chunk, [f"server.balance_gradients.2 {chunk - ahead - 1}"]) for chunk in range(ahead + 1, 9)]


def test_members_are_given_two_batches_ahead_of_the_one_that_they_train_on() -> None:
    coordinator, pool = run_of(schedule={"steps": 2, "training": "real", "real_images": 20, "batch": 4})
    number_results(pool, pool.workers, "training_step", "aligner_step")
    ran(coordinator)
    for verb, exchanges, passes in ("training_step", 5, 1), ("aligner_step", 6, 2):
        given = [(calls.count(verb), waited) for calls, waited in waits(pool, "b", f"{verb} ")]
        expected = [batch + exchanges * turn for turn in range(passes) for batch in range(3, exchanges)]
        assert given == [(batch, [f"a.{verb} {batch - 3}", f"b.{verb} {batch - 3}"]) for batch in expected]


def number_results(pool: FakePool, handles: Sequence[FakeWorker], *verbs: str) -> None:
    """Let the results of these calls be told from each other."""

    def numbered(call: Any) -> Any:
        counter = itertools.count()
        return lambda *arguments: f"{call(*arguments)} {next(counter)}"

    for handle in handles:
        for verb in verbs:
            setattr(handle, verb, numbered(getattr(handle, verb)))


def waits(pool: FakePool, name: str, awaited: str) -> list[tuple[list[str], list[str]]]:
    """The calls to ``name`` before each wait for a round of results named so, and those results."""
    rounds = [(calls, waited) for calls, waited in pool.waits if 0 < len(waited) < 3 and awaited in waited[0]]
    return [([verb for called, verb, *_ in pool.log[:calls] if called == name], waited) for calls, waited in rounds]


def test_every_step_starts_from_the_images_of_the_one_before_and_every_iteration_from_fresh_networks() -> None:
    coordinator, pool = run_of(distil=False, schedule={"iterations": 2, "steps": 2})
    records = ran(coordinator)
    matched = [images for name, verb, *images in pool.log if (name, verb) == ("a", "match")]
    assert matched == [["images0"], ["images1"], ["images2"], ["images3"]]
    assert [record.snapshot for record in records] == ["images1", "images2", "images3", "images4"]
    order = [verb for name, verb, *_ in pool.log if name == "server" and verb in ("begin", "apply")]
    assert order == ["begin", "apply", "apply", "begin", "apply", "apply"]


def test_after_step_is_called_after_each_step_and_may_stop_the_run() -> None:
    coordinator, pool = run_of(schedule={"steps": 3})

    def stop(record: StepRecord) -> None:
        if record.plan.version == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coordinator.run(0, stop)
    assert pool.server.version == 2


def test_whose_turn_it_is_chooses_real_images_for_all() -> None:
    coordinator, pool = run_of(schedule={"steps": 4}, matching={"sampler": "kmeans", "sampler_period": 2})
    ran(coordinator)
    choice = [call for call in pool.log if call[1] in ("choose", "select")]
    first, second = ([(who, "choose"), *[(name, "select", f"{who}.choose") for name in "ab"]] for who in "ab")
    assert choice == [*first, *second]
    assert pool.log.index(("a", "choose")) < pool.log.index(("a", "features", "images0"))
    for who, images in ("a", "images0"), ("b", "images2"):  # nothing is matched before all have them
        begun = pool.log.index(("a", "features", images))
        assert (begun, ["a.select", "b.select"]) in pool.waits and (who, "choose") in pool.log[:begun]


def test_a_member_that_begins_in_the_middle_uses_the_real_images_of_the_others() -> None:
    sections: dict[str, Any] = {"matching": {"sampler": "kmeans", "sampler_period": 5}, "pool": {"active": 2, "bad_steps": 1}}
    coordinator, pool = run_of(("a", "b", "c"), distil=False, schedule={"steps": 7}, **sections)
    events = told(coordinator)
    first = coordinator.plan(0).members
    staying, leaving, new = ("abc"[member] for member in (*first, *({0, 1, 2} - set(first))))
    pool.bad = {1: float("nan")}

    def after_step(record: StepRecord) -> None:
        if record.plan.members != first:
            pool.bad = {}

    coordinator.run(0, after_step)
    assert ("quarantined", 2) in events and leaving in coordinator.health.absent
    selected = [(name, given) for name, verb, *given in pool.log if verb == "select"]
    assert [name for name, _ in selected[:3]] == [staying, leaving, new]
    assert selected[2] == (new, [f"{staying}.selection"])


def test_batches_of_training_go_round_the_processes_of_the_server() -> None:
    training = {"steps": 2, "training": "real", "real_images": 20, "batch": 4}
    coordinator, pool = run_of(classes=3, schedule=training, cluster={"server_shards": 2})
    ran(coordinator)
    matching, turns = [(0, 1), (2,)], [(0, 1), (2,), (0, 1), (2,), (0, 1)]
    aligners = [*turns, (2,)]
    assert pool.server.labels == [*aligners, *matching, *turns, *aligners, *matching]


@pytest.mark.parametrize("training", ["real", "synthetic"])
def test_training_takes_one_exchange_a_batch_then_aligners_are_trained(training: str) -> None:
    """Ten images of 20 real ones a batch, or two epochs of the two synthetic ones."""
    schedule = {"steps": 2, "training": training, "real_images": 20, "batch": 10, "inner_epochs": 2}
    coordinator, pool = run_of(schedule=schedule)
    ran(coordinator)
    after = pool.log[pool.log.index(("server", "apply")) + 1 :]
    trained = batch("training_features", "training_step", "images1") * 2
    assert after == [*trained, *aligning(2), *exchange("images1"), ("server", "apply")]  # the last step trains nothing


def test_aligners_are_trained_before_the_first_step_and_after_each_where_networks_are_not() -> None:
    coordinator, pool = run_of(schedule={"iterations": 2, "steps": 2, "training": "none"})
    ran(coordinator)
    verbs = [verb for name, verb, *_ in pool.log if name == "a" and verb not in ("match", "pull_back")]
    step = ["aligner_features", "aligner_step"] * 2
    assert verbs == ["begin", "align", *step, "features", *step, "features"] * 2


def test_the_first_member_drawn_probes_the_consensus_at_its_period() -> None:
    coordinator, pool = run_of(schedule={"iterations": 3}, matching={"probe_every": 2})
    ran(coordinator)
    probed = [call for call in pool.log if call[1].startswith("probe") or call[1] == "begin"]
    begin = [("a", "begin"), ("b", "begin"), ("server", "begin")]
    assert probed == [
        *begin,
        *begin,
        ("a", "probe_features"),
        ("b", "probe_features"),
        ("a", "probe", "server.consensus"),
        *begin,
    ]
    consensus = pool.log.index(("server", "consensus", "a.probe_features", "b.probe_features"))
    assert pool.log[consensus + 1] == ("a", "probe", "server.consensus")
    assert pool.log[consensus + 2] == ("a", "features", "images1")


def test_a_record_holds_what_members_agreed_in_all_and_the_probe() -> None:
    coordinator, pool = run_of(matching={"probe_every": 1, "classes_per_call": 1})
    value = pool._value

    def agreed(reference: Any) -> Any:
        found = value(reference)
        worker = str(reference).partition(".")[0]
        if str(reference).endswith("match.record"):
            before = 1.0 if worker == "a" else 0.5
            return MemberRecord(found.losses | {"agreement/before": before, "agreement/after": before / 2}, found.seconds)
        return found

    pool._value = agreed  # type: ignore[method-assign]
    (record,) = ran(coordinator)
    found = {name: value for name, value in record.metrics.items() if name.startswith("agreement/")}
    assert found == {"agreement/before": 1.5, "agreement/after": 0.75, "agreement/probe_accuracy": 0.75}


@pytest.mark.parametrize("training", ["real", "synthetic"])
def test_training_without_distillation_takes_one_call(training: str) -> None:
    coordinator, pool = run_of(distil=False, schedule={"steps": 2, "training": training})
    ran(coordinator)
    after = pool.log[pool.log.index(("server", "apply")) + 1 :]
    assert after[:2] == [(name, "train", "images1") for name in "ab"]


def test_a_plan_for_another_version_is_refused_with_both_numbers() -> None:
    coordinator, pool = run_of()
    pool.server.version = 3
    with pytest.raises(RuntimeError, match="a step belongs to image version 0, but the images are at version 3"):
        ran(coordinator)


def test_a_record_holds_means_over_classes_and_batches_and_sums_of_seconds() -> None:
    coordinator, _ = run_of(
        schedule={"steps": 2, "training": "real", "real_images": 20, "batch": 10}, classes=4, matching={"classes_per_call": 2}
    )
    first, last = ran(coordinator)
    assert first.metrics["loss/a_classification"] == 2 and first.metrics["loss/b_classification"] == 4
    assert first.metrics["seconds/a_forward"] == 1.0  # two chunks
    assert first.metrics["seconds/a_aligner_training"] == 0.75 and "seconds/a_aligner_training" not in last.metrics
    assert first.metrics["seconds/a_training"] == 0.5 and "seconds/a_training" not in last.metrics
    for target, column in (("a", 1), ("b", 2), ("distillation", 3)):
        assert first.metrics[f"gradient/largest_{target}"] == column
        assert first.metrics[f"gbm/weight_{target}"] == 10 * column
        assert first.metrics[f"gbm/share_{target}"] == 100 * column
    assert first.metrics["seconds/step"] > 0
    assert first.left_out == {"b": 2}


# Checkpoints and resuming


def test_within_an_iteration_members_are_saved_between_iterations_they_are_not() -> None:
    coordinator, pool = run_of(schedule={"iterations": 2, "steps": 3})
    coordinator.checkpoint(2)
    assert pool.log == [("a", "state"), ("b", "state"), ("server", "save", "cut0", "a.state", "b.state")]
    coordinator.checkpoint(3)
    assert pool.log[3:] == [("server", "save", "cut0")]
    assert pool.server.saves == [(2, ("server", "a", "b", HEALTH)), (3, ("server", HEALTH))]


def test_resuming_within_an_iteration_begins_it_then_restores_server_and_members() -> None:
    coordinator, pool = run_of(schedule={"iterations": 2, "steps": 3})
    records = ran(coordinator, start=4)
    expected = [
        ("server", "saved", "4", HEALTH),
        ("server", "saved", "4", "a"),
        ("server", "saved", "4", "b"),
        ("server", "saved", "4", "server"),
        *BEGIN,
        ("server", "restore", "saved4.server", "with balance"),
        ("a", "restore", "saved4.a"),
        ("b", "restore", "saved4.b"),
        ("server", "snapshot"),
    ]
    assert pool.log[: len(expected)] == expected
    assert pool.log[len(expected)] == ("a", "features", "images4")
    assert [record.plan.version for record in records] == [4, 5]


def loaded(version: int) -> list[Call]:
    return [
        ("server", "saved", str(version), HEALTH),
        ("server", "saved", str(version), "server"),
        ("server", "restore", f"saved{version}.server", "balance anew"),
        ("server", "snapshot"),
    ]


def test_resuming_between_iterations_loads_the_images_only() -> None:
    coordinator, pool = run_of(schedule={"iterations": 2, "steps": 3})
    records = ran(coordinator, start=3)
    assert pool.log[:5] == [*loaded(3), ("a", "begin")]
    assert [record.plan.version for record in records] == [3, 4, 5]


def test_resuming_a_finished_run_does_nothing() -> None:
    coordinator, pool = run_of(schedule={"iterations": 2, "steps": 3})
    assert ran(coordinator, start=6) == []
    assert pool.log == loaded(6)


# Draws from the pool

ONE_OF_THREE = {"active": 1, "main": "b", "warmup": 1}


def test_members_that_are_not_drawn_are_asked_nothing() -> None:
    coordinator, pool = run_of(("a", "b", "c"), pool=ONE_OF_THREE, schedule={"iterations": 12, "steps": 2})
    records = ran(coordinator)
    drawn = [record.plan.members for record in records[::2]]
    assert drawn[0] == (1,) and len(set(drawn)) > 1 and all(len(members) == 1 for members in drawn)
    matched = [name for name, verb, *_ in pool.log if verb == "match"]
    assert matched == ["abc"[record.plan.members[0]] for record in records]
    begun = [name for name, verb, *_ in pool.log if verb == "begin" and name != "server"]
    assert begun == ["abc"[members[0]] for members in drawn]


def test_a_record_says_who_was_drawn_and_with_which_options() -> None:
    coordinator, _ = run_of(("a", "b", "c"), pool=ONE_OF_THREE, schedule={"steps": 2})
    first, last = ran(coordinator)
    assert first.members == last.members == {"b": {"norm": "batch"}}
    assert last.position == {"step": 2, "iteration": 0, "members": {"b": {"norm": "batch"}}}
    assert [first.metrics[f"pool/drawn_{name}"] for name in "abc"] == [0, 1, 0]


def test_where_all_take_part_draws_are_no_metric() -> None:
    coordinator, _ = run_of()
    (record,) = ran(coordinator)
    assert record.members == {"a": {}, "b": {"norm": "batch"}}
    assert not any(name.startswith("pool/") for name in record.metrics)


def test_only_the_members_drawn_are_saved_and_restored() -> None:
    settings: dict[str, Any] = {"pool": ONE_OF_THREE, "schedule": {"steps": 3}}
    coordinator, pool = run_of(("a", "b", "c"), **settings)
    coordinator.checkpoint(2)
    assert pool.log == [("b", "state"), ("server", "save", "cut0", "b.state")]
    assert pool.server.saves == [(2, ("server", "b", HEALTH))]
    coordinator, pool = run_of(("a", "b", "c"), **settings)
    ran(coordinator, start=2)
    assert [call for call in pool.log if call[1] == "restore" and call[0] != "server"] == [("b", "restore", "saved2.b")]
    assert {name for name, *_ in pool.log} == {"b", "server"}


# Faults


def told(coordinator: Coordinator) -> list[tuple[str, int]]:
    """Where the coordinator writes down what happens, by kind and step; cuts left out."""
    events: list[tuple[str, int]] = []

    def tell(kind: str, step: int, **fields: Any) -> None:
        if kind != "cut":
            events.append((kind, step))

    coordinator._tell = tell
    return events


def applied(pool: FakePool) -> int:
    return sum(call == ("server", "apply") for call in pool.log)


def test_after_a_fault_the_steps_since_the_cut_are_done_again_from_its_images() -> None:
    coordinator, pool = run_of(distil=False, schedule={"steps": 8}, cluster={"cut_every": 3})
    events = told(coordinator)
    pool.healed = [Healed(("a",), {})]
    records: list[StepRecord] = []

    def after_step(record: StepRecord) -> None:
        records.append(record)
        if record.plan.version == 4 and len(records) == 5:
            pool.faults = ["applied"]  # step 5 is lost

    coordinator.run(0, after_step)
    assert [record.plan.version for record in records] == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7]
    heal = pool.log.index(("pool", "heal"))
    again = [("a", "begin"), ("b", "begin"), ("server", "begin"), ("server", "restore", "cut3", "with balance")]
    again += [("a", "restore", "a.state"), ("b", "restore", "b.state"), ("server", "snapshot"), ("a", "match", "images3")]
    assert pool.log[heal + 1 :][: len(again)] == again
    assert events == [("fault", 5), ("recovered", 3)]


def test_a_fault_before_the_first_step_starts_again() -> None:
    coordinator, pool = run_of(distil=False)
    pool.healed, pool.faults = [Healed(("b",), {})], ["b.begin"]
    assert [record.plan.version for record in ran(coordinator)] == [0]


def test_a_fault_while_going_back_is_one_more_fault() -> None:
    coordinator, pool = run_of(distil=False, schedule={"steps": 2})
    events = told(coordinator)
    pool.healed = [Healed(("server",), {}), Healed(("server",), {})]
    pool.faults = ["applied", "restored"]
    assert [record.plan.version for record in ran(coordinator)] == [0, 1]
    assert events == [("fault", 0), ("fault", 0), ("recovered", 0)]


def test_faults_without_progress_end_the_run() -> None:
    coordinator, pool = run_of(distil=False, schedule={"steps": 2}, cluster={"recovery_attempts": 2})
    pool.healed, pool.faults = [Healed(("a",), {})] * 3, ["applied"] * 3
    with pytest.raises(RunError, match="after 3 faults at step 0 the pool gives up, the last: applied is gone"):
        ran(coordinator)


def test_the_images_of_the_last_step_are_worth_going_back_for() -> None:
    coordinator, pool = run_of(distil=False, schedule={"steps": 2})
    pool.healed, pool.faults = [Healed(("server",), {})], ["images2"]
    assert [record.plan.version for record in ran(coordinator)] == [0, 1, 0, 1]


def test_a_member_that_cannot_be_started_again_leaves_the_pool() -> None:
    coordinator, pool = run_of(("a", "b", "c"), distil=False, schedule={"iterations": 2, "steps": 3})
    events = told(coordinator)
    pool.healed, pool.faults = [Healed((), {1: "no resources"})] * 2, ["applied"] * 2
    records = ran(coordinator)
    assert [record.plan.members for record in records] == [(0, 2)] * 6
    assert coordinator.health.absent == {"b"}
    assert events == [("fault", 0), ("left_out", 0), *events[2:]] and events.count(("left_out", 0)) == 1


# Gradients that are not finite


def test_a_member_with_bad_gradients_starts_afresh_and_then_leaves() -> None:
    coordinator, pool = run_of(distil=False, schedule={"steps": 7}, pool={"bad_steps": 2})
    events = told(coordinator)
    pool.bad = {1: float("nan")}

    def after_step(record: StepRecord) -> None:
        if len(record.plan.members) == 1:
            pool.bad = {}

    coordinator.run(0, after_step)
    assert events == [
        ("left_out", 1),
        ("left_out", 2),
        ("reset", 2),
        ("left_out", 3),
        ("left_out", 4),
        ("quarantined", 4),
        ("member_drawn", 4),
    ]
    assert [call for call in pool.log if call[1] == "renew"] == [("b", "renew")]
    left = pool.log.index(("server", "restore", "cut4", "balance anew"))
    assert ("a", "restore", "a.state") in pool.log[left:]
    assert not any(name == "b" for name, *_ in pool.log[left:])
    assert applied(pool) == 7


def with_bad_gradients_until(version: int, coordinator: Coordinator, pool: FakePool) -> list[list[Call]]:
    """The calls after each image step of a run in which the gradients of member ``b`` are bad
    before an image version."""
    pool.bad = {1: float("nan")}

    def after_step(record: StepRecord) -> None:
        if record.plan.version + 1 == version:
            pool.bad = {}

    coordinator.run(0, after_step)
    ends = [place + 1 for place, call in enumerate(pool.log) if call == ("server", "apply")]
    return [pool.log[start:end] for start, end in itertools.pairwise(ends)]


RENEWAL = [("b", "renew"), ("server", "renewed"), ("b", "align")]


def test_a_renewed_member_has_a_fresh_aligner_which_all_train_before_the_next_step() -> None:
    coordinator, pool = run_of(schedule={"steps": 2, "training": "none"}, pool={"bad_steps": 1})
    (calls,) = with_bad_gradients_until(1, coordinator, pool)
    assert calls == [*aligning(), *RENEWAL, *aligning(), *exchange("images1"), ("server", "apply")]


def test_aligners_renewed_at_an_iterations_end_are_not_trained_any_more() -> None:
    coordinator, pool = run_of(schedule={"iterations": 2, "training": "none"}, pool={"bad_steps": 1})
    (calls,) = with_bad_gradients_until(1, coordinator, pool)
    assert calls == [*RENEWAL, *BEGIN, *aligning(), *exchange("images1"), ("server", "apply")]


def test_those_who_stay_keep_their_networks_and_train_their_aligners_anew() -> None:
    coordinator, pool = run_of(("a", "b", "c"), schedule={"steps": 3, "training": "none"}, pool={"bad_steps": 1})
    renewed, left = with_bad_gradients_until(2, coordinator, pool)
    assert renewed[: len(aligning(names="abc")) + 1] == [*aligning(names="abc"), RENEWAL[0]]
    assert left == [
        *aligning(names="abc"),  # before it is known who leaves
        *((name, "state") for name in "abc"),
        *begin("ac"),
        ("server", "restore", "cut2", "balance anew"),
        *((name, "restore", f"{name}.state") for name in "ac"),
        *aligning(names="ac"),
        ("server", "snapshot"),
        *exchange("images2", "ac"),
        ("server", "apply"),
    ]


def test_a_fault_after_a_member_has_left_goes_back_to_trained_aligners_of_those_who_stay() -> None:
    """At first to where it left, after which they are trained; later to a cut, which has them as
    they were."""
    cluster = {"cut_every": 2}
    coordinator, pool = run_of(
        ("a", "b", "c"), schedule={"steps": 6, "training": "none"}, pool={"bad_steps": 1}, cluster=cluster
    )
    pool.bad, faults = {1: float("nan")}, [3, 5]

    def after_step(record: StepRecord) -> None:
        version = record.plan.version + 1
        if version == 2:
            pool.bad = {}
        if version in faults:
            faults.remove(version)
            pool.healed, pool.faults = [Healed((), {})], ["applied"]

    coordinator.run(0, after_step)
    heals = [place + 1 for place, call in enumerate(pool.log) if call == ("pool", "heal")]
    again = [(name, "restore", f"{name}.state") for name in "ac"]
    for heal, version, balance, aligners in (
        (heals[0], 2, "balance anew", aligning(names="ac")),
        (heals[1], 4, "with balance", []),
    ):
        expected = [*begin("ac"), ("server", "restore", f"cut{version}", balance), *again, *aligners, ("server", "snapshot")]
        expected += exchange(f"images{version}", "ac")
        assert pool.log[heal : heal + len(expected)] == expected


def test_a_fault_in_mid_iteration_restores_trained_aligners_without_another_pass() -> None:
    coordinator, pool = run_of(schedule={"steps": 4, "training": "none"}, cluster={"cut_every": 2})
    pool.healed = [Healed(("a",), {})]

    def after_step(record: StepRecord) -> None:
        if record.plan.version == 2 and pool.healed:
            pool.faults = ["applied"]

    coordinator.run(0, after_step)
    heal = pool.log.index(("pool", "heal")) + 1
    restored = [("server", "restore", "cut2", "with balance"), ("a", "restore", "a.state"), ("b", "restore", "b.state")]
    expected = [*BEGIN, *restored, ("server", "snapshot"), *exchange("images2"), ("server", "apply"), *aligning()]
    assert pool.log[heal : heal + len(expected)] == expected


def test_a_pool_whose_last_member_leaves_ends() -> None:
    coordinator, pool = run_of(("a",), distil=False, schedule={"steps": 7}, pool={"bad_steps": 1})
    pool.bad = {0: float("inf")}
    with pytest.raises(RunError, match="no member of the pool is left, the last was 'a'"):
        ran(coordinator)
