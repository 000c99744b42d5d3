from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from parity.runs import gradients_message, step_plan

from hmdc_ray.config import BalanceConfig, ImagesConfig
from hmdc_ray.exchange.messages import BalanceRecord, Cotangents, Features, Gradients, MemberTaps, Snapshot, State
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.sizes import gradient_sizes
from hmdc_ray.models import Tap
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.server.parameter_server import ParameterServer
from hmdc_ray.system.memory import on_disk, own_bytes

SHAPE = (3, 2, 1, 4, 4)
MAP, VECTOR = Tap("a", "map", 4, 2, 2), Tap("b", "vector", 3, 0, 0)
TAPS = [MemberTaps("first", (MAP,)), MemberTaps("second", (VECTOR,)), MemberTaps("third", (MAP,))]
FEATURES = (2, 1, 5, 3)
"""Two images, one layer, the semantic and four spatial tokens, three channels."""

LOWEST, HIGHEST = -2.0, 2.0
"""Of normalised pixels, by the mean and deviation below."""


def noise(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def made(
    folder: Path, members: int = 2, *, labels: Sequence[int] = (0, 1, 2), balance: dict[str, Any] | None = None, **images: Any
) -> ParameterServer:
    return ParameterServer(
        initial_KICHW=noise(*SHAPE)[list(labels)],
        first=labels[0],
        mean=(0.5,),
        std=(0.25,),
        images=ImagesConfig(**{"learning_rate": 0.1, "momentum": 0.5, **images}),
        balance=BalanceConfig(**(balance or {})),
        loss_weights=[1.0, 2.0, 3.0][:members],
        main=0,
        threads=1,
        checkpoints=CheckpointFolder(folder),
        identity={"config": {}},
    )


def gradients(labels: tuple[int, ...] = (0, 1, 2), *, version: int = 0, seed: int = 0, distil: bool = False) -> Gradients:
    shape = (len(labels), *SHAPE[1:])
    shared = noise(*shape, seed=seed + 100) if distil else None
    return gradients_message(labels, noise(*shape, seed=seed), shared, version=version)


def features(*batches: NDArray[np.float64], version: int = 0) -> Features:
    return Features(version, batches, tuple(bool(np.isfinite(batch).all()) for batch in batches))


def plan(version: int = 0, members: int = 2) -> StepPlan:
    return step_plan(version, members=members)


def balanced(server: ParameterServer, plan: StepPlan, *parts: Gradients) -> BalanceRecord:
    server.add_gradients(plan, 0, *parts)
    return server.balance_chunk(plan)


def consensus_of(server: ParameterServer, plan: StepPlan, *parts: Features) -> Features:
    server.add_features(plan, 0, *parts)
    return server.form_consensus(plan)


def share_of(server: ParameterServer, plan: StepPlan, *parts: Cotangents) -> Cotangents:
    server.add_cotangents(plan, 0, *parts)
    return server.mean_cotangents(plan)


def test_snapshots_and_states_stay_as_they_are_while_the_server_goes_on(tmp_path: Path) -> None:
    server = made(tmp_path, 1)
    server.begin(0, (0,), ())
    balanced(server, plan(members=1), gradients(seed=1))
    server.apply(plan(members=1))
    snapshot, state = server.snapshot(), server.state()
    images, momentum = snapshot.images_KICHW.tobytes(), state.arrays["momentum"].tobytes()
    assert snapshot.version == 1 and images == state.arrays["images"].tobytes()
    with pytest.raises(ValueError, match="read-only"):
        snapshot.images_KICHW[:] = 0
    balanced(server, plan(1, members=1), gradients(version=1, seed=2))
    after, _ = server.apply(plan(1, members=1))
    moved = server.state().arrays["momentum"].tobytes()
    assert after.images_KICHW.tobytes() != images and moved != momentum
    assert (snapshot.images_KICHW.tobytes(), state.arrays["momentum"].tobytes()) == (images, momentum)
    server.restore(state, True)
    balanced(server, plan(1, members=1), gradients(version=1, seed=2))
    assert server.apply(plan(1, members=1))[0].images_KICHW.tobytes() == after.images_KICHW.tobytes()
    assert server.state().arrays["momentum"].tobytes() == moved
    assert state.arrays["images"].tobytes() == images


def test_a_step_is_the_weighted_sum_of_all_targets(tmp_path: Path) -> None:
    server = made(tmp_path, balance={"distillation_weight": 5.0})
    server.begin(0, (0, 1), TAPS[:2])
    parts = [gradients(seed=seed, distil=True) for seed in (1, 2)]
    record = balanced(server, plan(), *parts)
    snapshot, held = server.apply(plan())
    first, second = (part.classification_KICHW for part in parts)
    shared = sum(part.distillation_KICHW for part in parts)  # type: ignore[misc]
    expected = noise(*SHAPE) - 0.1 * (1.0 * first + 2.0 * second + 5.0 * shared)
    assert snapshot.version == 1 and held == ()
    assert np.allclose(snapshot.images_KICHW, expected, rtol=1e-12)
    assert record.labels == (0, 1, 2) and record.weights_KT.shape == (3, 3)
    # The parts of the distillation target are summed before its magnitude is taken.
    assert np.allclose(record.magnitudes_KT[:, 2], np.abs(shared).max(axis=(1, 2, 3, 4)))


def test_a_target_whose_loss_jumps_is_left_out_of_that_class_and_the_guard_survives_a_restart(tmp_path: Path) -> None:
    def parts(version: int, losses: tuple[float, ...]) -> list[Gradients]:
        calm = replace(gradients(version=version, seed=1), classification_losses=(1.0, 1.0, 1.0))
        return [calm, replace(gradients(version=version, seed=2), classification_losses=losses)]

    def second_step(server: ParameterServer, losses: tuple[float, ...]) -> tuple[BalanceRecord, NDArray[Any]]:
        before = server.snapshot().images_KICHW
        record = balanced(server, plan(1), *parts(1, losses))
        return record, before - server.apply(plan(1))[0].images_KICHW

    server = made(tmp_path, balance={"spike_factor": 4.0}, momentum=0.0)
    server.begin(0, (0, 1), ())
    balanced(server, plan(), *parts(0, (1.0, 1.0, 1.0)))
    server.apply(plan())
    other = made(tmp_path / "other", balance={"spike_factor": 4.0}, momentum=0.0)
    other.begin(0, (0, 1), ())
    other.restore(server.state(), with_balance=True)
    record, moved = second_step(server, (1.0, 4.1, 1.0))
    assert record.entered_KT.tolist() == [[True, True], [True, False], [True, True]]
    own, weighted = gradients(seed=1).classification_KICHW, 2.0 * gradients(seed=2).classification_KICHW
    np.testing.assert_allclose(moved[1], 0.1 * own[1], rtol=1e-12)
    np.testing.assert_allclose(moved[0], 0.1 * (own + weighted)[0], rtol=1e-12)
    assert second_step(other, (1.0, 4.1, 1.0))[1].tobytes() == moved.tobytes()


def test_chunks_of_classes_in_any_order_give_the_same_bits(tmp_path: Path) -> None:
    def part(labels: tuple[int, ...], seed: int) -> Gradients:
        return gradients_message(labels, gradients(seed=seed).classification_KICHW[list(labels)])

    results = []
    for chunks in ([(0, 1, 2)], [(2,), (0,), (1,)], [(1, 2), (0,)]):
        server = made(tmp_path, balance={"mode": "ema"})
        server.begin(0, (0, 1), ())
        for labels in chunks:
            balanced(server, plan(), part(labels, 1), part(labels, 2))
        results.append(server.apply(plan())[0].images_KICHW)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_members_taken_in_groups_of_any_size_give_the_same_bits(tmp_path: Path) -> None:
    found = []
    for groups in ([(0, 1, 2)], [(0,), (1, 2)], [(0,), (1,), (2,)]):
        server = made(tmp_path, 3, balance={"mode": "ema"})
        server.begin(0, (0, 1, 2), TAPS)
        for group in groups:
            server.add_features(plan(members=3), group[0], *(features(noise(*FEATURES, seed=seed)) for seed in group))
        formed = [server.form_consensus(plan(members=3)).batches[0].tobytes()]
        for group in groups:
            cotangents = (Cotangents(0, (0,), (noise(*FEATURES, seed=seed),)) for seed in group)
            server.add_cotangents(plan(members=3), group[0], *cotangents)
        formed.append(server.mean_cotangents(plan(members=3)).batches[0].tobytes())
        for group in groups:
            server.add_gradients(plan(members=3), group[0], *(gradients(seed=seed, distil=True) for seed in group))
        formed.append(server.balance_chunk(plan(members=3)).weights_KT.tobytes())
        found.append([*formed, server.apply(plan(members=3))[0].images_KICHW.tobytes()])
    assert found[0] == found[1] == found[2]


def test_what_members_sent_before_another_was_lost_is_in_no_later_sum(tmp_path: Path) -> None:
    """A broken exchange goes on until the driver sees it, and the training after it has batches of
    another size."""
    larger, batch = noise(2 * FEATURES[0], *FEATURES[1:], seed=1), noise(*FEATURES, seed=2)

    def results(broken: bool) -> list[bytes]:
        server = made(tmp_path / str(broken))
        server.begin(0, (0, 1), TAPS[:2])
        if broken:
            server.add_features(plan(), 0, features(larger, larger))
        found = [consensus_of(server, plan(), features(batch), features(batch)).batches[0].tobytes()]
        if broken:
            server.add_cotangents(plan(), 0, Cotangents(0, (0, 1), (larger, larger)))
        found.append(share_of(server, plan(), *[Cotangents(0, (0,), (batch,))] * 2).batches[0].tobytes())
        if broken:
            server.add_gradients(plan(), 0, gradients((0, 1), distil=True))
        balanced(server, plan(), gradients(seed=1, distil=True), gradients(seed=2, distil=True))
        return [*found, server.apply(plan())[0].images_KICHW.tobytes()]

    assert results(broken=True) == results(broken=False)


def test_a_step_without_all_classes_is_refused(tmp_path: Path) -> None:
    server = made(tmp_path, 1)
    server.begin(0, (0,), ())
    balanced(server, plan(members=1), gradients((0, 2)))
    with pytest.raises(RuntimeError, match="step 0 has no gradient for 1 of 3 classes"):
        server.apply(plan(members=1))
    balanced(server, plan(members=1), gradients((1,)))
    assert server.apply(plan(members=1))[0].version == 1
    with pytest.raises(RuntimeError, match="step 1 has no gradient for 3 of 3 classes"):
        server.apply(plan(1, members=1))


def test_messages_of_another_version_are_refused_with_both_numbers(tmp_path: Path) -> None:
    server = made(tmp_path)
    server.begin(0, (0, 1), TAPS[:2])
    batch = noise(*FEATURES)
    stale = "belongs to image version 5, but the images are at version 0"
    with pytest.raises(RuntimeError, match=f"a gradient {stale}"):
        balanced(server, plan(), gradients(), gradients(version=5))
    with pytest.raises(RuntimeError, match=f"a feature {stale}"):
        consensus_of(server, plan(), features(batch), features(batch, version=5))
    with pytest.raises(RuntimeError, match=f"a cotangent {stale}"):
        share_of(server, plan(), Cotangents(0, (0,), (batch,)), Cotangents(5, (0,), (batch,)))
    with pytest.raises(RuntimeError, match=f"a step {stale}"):
        server.apply(plan(5))
    with pytest.raises(RuntimeError, match=f"a checkpoint {stale}"):
        server.save(5, ("server",), server.state())


def test_consensus_and_shares_count_only_members_that_have_the_token(tmp_path: Path) -> None:
    server = made(tmp_path, 3)
    server.begin(0, (0, 1, 2), TAPS)
    parts = [noise(*FEATURES, seed=seed) for seed in range(3)]
    expected = (parts[0] + parts[1] + parts[2]) / 3
    expected[:, :, 1:] = ((parts[0] + parts[2]) / 2)[:, :, 1:]
    consensus = consensus_of(server, plan(members=3), *(features(part, 2 * part) for part in parts))
    assert np.allclose(consensus.batches[0], expected) and np.allclose(consensus.batches[1], 2 * expected)

    share = share_of(server, plan(members=3), *(Cotangents(0, (1,), (part,)) for part in parts))
    total = sum(parts)
    assert share.labels == (1,)
    assert np.allclose(share.batches[0][:, :, 0], total[:, :, 0] / 3)  # type: ignore[index]
    assert np.allclose(share.batches[0][:, :, 1:], total[:, :, 1:] / 2)  # type: ignore[index]
    assert np.array_equal(parts[0], noise(*FEATURES, seed=0))


def test_a_pool_whose_main_member_comes_later_takes_its_scale(tmp_path: Path) -> None:
    server = made(tmp_path, balance={"mode": "last"})
    server.main = 1
    server.begin(0, (0, 1), ())
    record = balanced(server, plan(), gradients(seed=1), gradients(seed=2))
    assert (record.weights_KT[:, 1] == 1).all() and not (record.weights_KT[:, 0] == 1).any()


def test_a_restored_server_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    def step(server: ParameterServer, version: int) -> bytes:
        parts = [gradients(version=version, seed=10 * version + member, distil=True) for member in (0, 1)]
        balanced(server, plan(version), *parts)
        return server.apply(plan(version))[0].images_KICHW.tobytes()

    balance = {"mode": "ema", "period": 2}
    server = made(tmp_path, balance=balance, normalise="max")
    server.begin(0, (0, 1), TAPS[:2])
    for version in range(3):
        step(server, version)
    member = State({"network/weight": noise(2, 2)}, {})
    server.save(3, ("server", "first", "second"), server.state(), member, member)
    expected = [step(server, version) for version in (3, 4)]

    other = made(tmp_path, balance=balance, normalise="max")
    other.begin(0, (0, 1), TAPS[:2])
    other.restore(server_state := other.saved(3, "server"), True)
    assert server_state.values == {"version": 3}
    assert [step(other, version) for version in (3, 4)] == expected
    assert np.array_equal(other.saved(3, "second").arrays["network/weight"], noise(2, 2))


def test_a_restored_server_whose_balance_lasts_for_the_run_gives_the_same_bits(tmp_path: Path) -> None:
    draws = [(0,), (1,), (0, 2), (2,), (1,), (1, 2)]

    def run(server: ParameterServer, start: int, end: int) -> None:
        for version, members in enumerate(draws[start:end], start):
            server.begin(version, members, ())
            sent = [gradients(version=version, seed=10 * version + member) for member in members]
            balanced(server, drawn := replace(plan(version), members=members), *sent)
            server.apply(drawn)

    balance = {"mode": "ema", "scope": "run"}
    whole = made(tmp_path, 3, balance=balance)
    run(whole, 0, 4)
    state = whole.state()
    run(whole, 4, 6)
    for same in (True, False):  # other members take part from there on, which a lasting history does not mind
        restored = made(tmp_path, 3, balance=balance)
        restored.begin(4, draws[4], ())
        restored.restore(state, same)
        run(restored, 4, 6)
        assert torch.equal(restored.images.images_KICHW, whole.images.images_KICHW)


def test_a_history_of_an_iteration_starts_anew(tmp_path: Path) -> None:
    server = made(tmp_path, balance={"mode": "ema"})
    server.begin(0, (0, 1), ())
    balanced(server, plan(), gradients(seed=1), gradients(seed=2))
    assert float(server.balance.history_KT.min()) > 1e-6
    server.begin(1, (1,), ())
    assert server.balance.history_KT.shape == (3, 1) and float(server.balance.history_KT.max()) <= 1e-6


@pytest.mark.parametrize("parts", [((0, 1), (2,)), ((0,), (1,), (2,))])
def test_shards_do_together_what_one_server_does(tmp_path: Path, parts: tuple[tuple[int, ...], ...]) -> None:
    """Also after they have taken the state of one server, and one theirs."""

    def step(servers: dict[tuple[int, ...], ParameterServer], version: int) -> tuple[bytes, bytes]:
        numbers = []
        for labels, server in servers.items():
            sent = []
            for member in (0, 1):
                of_all = gradients(version=version, seed=10 * version + member, distil=True)
                assert of_all.distillation_KICHW is not None
                own = [array[list(labels)] for array in (of_all.classification_KICHW, of_all.distillation_KICHW)]
                losses = tuple(1.0 + label if version < 3 or label != 2 else 100.0 for label in labels)
                sent.append(gradients_message(labels, own[0], own[1], version=version, losses=losses))
            numbers.append(balanced(server, plan(version), *sent))
        snapshots, held = zip(*(server.apply(plan(version)) for server in servers.values()), strict=True)
        assert ParameterServer.joined(*held) == ()
        entered = [record.entered_KT for record in numbers]
        assert np.concatenate(entered).all(axis=1).tolist() == [True, True, version < 3]  # in step 3 the losses of class 2 jump
        return ParameterServer.joined(*snapshots).images_KICHW.tobytes(), np.concatenate(entered).tobytes()

    def begun(servers: list[ParameterServer]) -> list[ParameterServer]:
        for server in servers:
            server.begin(0, (0, 1), TAPS[:2])
        return servers

    balance = {"mode": "ema", "period": 2, "spike_factor": 5.0}
    (one,) = begun([made(tmp_path, balance=balance, normalise="max")])
    split = begun([made(tmp_path, balance=balance, normalise="max", labels=labels) for labels in parts])
    whole: dict[tuple[int, ...], ParameterServer] = {(0, 1, 2): one}
    shards = dict(zip(parts, split, strict=True))
    assert [step(whole, version) for version in range(3)] == [step(shards, version) for version in range(3)]

    state = ParameterServer.joined(*(shard.state() for shard in split))
    assert {name: array.tobytes() for name, array in state.arrays.items()} == {
        name: array.tobytes() for name, array in one.state().arrays.items()
    }
    for server in begun([one, *split]):
        server.restore(state, True)
    assert step(whole, 3) == step(shards, 3)


def test_a_shard_names_the_classes_that_it_holds_back_by_their_labels(tmp_path: Path) -> None:
    shard = made(tmp_path, 1, labels=(1, 2))
    shard.begin(0, (0,), ())
    huge = spoilt(gradients((1, 2)), "classification_KICHW", np.finfo(np.float64).max)
    for version in (0, 1):
        balanced(shard, plan(version, members=1), replace(huge, version=version))
        _, held = shard.apply(plan(version, members=1))
    assert held == (2,)


# Bad numbers

BAD = {"nan": float("nan"), "infinite": float("inf"), "zero": 0.0, "exploding": 1e30}


def spoilt(part: Gradients, target: str, value: float, label: int = 1) -> Gradients:
    """The gradients with one target of one class replaced."""
    array = getattr(part, target).copy()
    array[label] = value
    spoilt = replace(part, **{target: array})
    return replace(spoilt, sizes=gradient_sizes(torch.from_numpy(spoilt.classification_KICHW)))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("target", [0, 1, "distillation"])
@pytest.mark.parametrize("mode", ["none", "ema", "sum"])
def test_a_bad_gradient_leaves_images_finite_and_in_range_and_the_others_as_they_are(
    tmp_path: Path, mode: str, target: int | str, bad: str
) -> None:
    def stepped(spoil: bool, *, clip: bool = True) -> tuple[Snapshot, BalanceRecord]:
        server = made(tmp_path, balance={"mode": mode}, clip=clip)
        server.begin(0, (0, 1), TAPS[:2])
        parts = [gradients(seed=seed, distil=True) for seed in (1, 2)]
        if spoil and target == "distillation":
            parts[0] = spoilt(parts[0], "distillation_KICHW", BAD[bad])
        elif spoil:
            assert isinstance(target, int)
            parts[target] = spoilt(parts[target], "classification_KICHW", BAD[bad])
        record = balanced(server, plan(), *parts)
        return server.apply(plan())[0], record

    clean, before = stepped(False)
    found, record = stepped(True)
    unclipped, _ = stepped(True, clip=False)
    assert np.isfinite(found.images_KICHW).all() and np.isfinite(unclipped.images_KICHW).all()
    low, high = found.images_KICHW.min(), found.images_KICHW.max()
    assert low >= LOWEST and high <= HIGHEST
    for label in (0, 2):  # other classes
        assert found.images_KICHW[label].tobytes() == clean.images_KICHW[label].tobytes()
    if bad in ("nan", "infinite"):
        column = target if isinstance(target, int) else 2
        others = [other for other in range(3) if other != column]
        assert not record.entered_KT[1, column] and record.weights_KT[1, column] == 0
        if column != 0:  # the scale is the main member's
            assert np.array_equal(record.weights_KT[1, others], before.weights_KT[1, others])


def test_an_update_that_overflows_is_held_back_in_its_class_alone(tmp_path: Path) -> None:
    server = made(tmp_path, 1)
    server.begin(0, (0,), ())
    huge = spoilt(gradients(), "classification_KICHW", np.finfo(np.float64).max)
    for version in (0, 1):
        balanced(server, plan(version, members=1), replace(huge, version=version))
        before = server.snapshot().images_KICHW
        after, held = server.apply(plan(version, members=1))
    assert held == (1,) and after.images_KICHW[1].tobytes() == before[1].tobytes()
    assert np.isfinite(after.images_KICHW).all() and after.images_KICHW[0].tobytes() != before[0].tobytes()


def test_a_target_beside_an_exploding_one_may_have_a_factor_beyond_float32(tmp_path: Path) -> None:
    server = made(tmp_path, balance={"mode": "last"})
    server.images.images_KICHW = server.images.images_KICHW.float()
    server._direction_KICHW = server._direction_KICHW.float()
    server.begin(0, (0, 1), ())
    exploding, small = (np.full(SHAPE, size, np.float32) for size in (1.0, 1e-4))
    exploding[1] = 1e36
    balanced(server, plan(), *(gradients_message((0, 1, 2), array) for array in (exploding, small)))
    before = server.snapshot().images_KICHW
    after, held = server.apply(plan())
    assert held == (1,) and after.images_KICHW[1].tobytes() == before[1].tobytes()
    assert np.isfinite(after.images_KICHW).all() and (after.images_KICHW[0] != before[0]).all()


def test_messages_of_other_classes_than_the_chunks_are_refused(tmp_path: Path) -> None:
    server = made(tmp_path)
    server.begin(0, (0, 1), TAPS[:2])
    other = r"a message has classes \(1,\), but the chunk has \(0,\)"
    batch = noise(*FEATURES)
    with pytest.raises(RuntimeError, match=other):
        share_of(server, plan(), Cotangents(0, (0,), (batch,)), Cotangents(0, (1,), (batch,)))
    with pytest.raises(RuntimeError, match=other):
        balanced(server, plan(), gradients((0,)), gradients((1,)))
    with pytest.raises(ValueError, match="zip"):
        consensus_of(server, plan(), features(batch), features(batch, batch))


def test_features_that_are_not_finite_have_no_say_in_the_consensus(tmp_path: Path) -> None:
    server = made(tmp_path, 3)
    server.begin(0, (0, 1, 2), TAPS)
    parts = [noise(*FEATURES, seed=seed) for seed in range(3)]
    parts[0][0, 0, 0, 0] = np.nan
    consensus = consensus_of(server, plan(members=3), *(features(part) for part in parts)).batches[0]
    expected = (parts[1] + parts[2]) / 2
    expected[:, :, 1:] = parts[2][:, :, 1:]
    assert np.allclose(consensus, expected)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room on a disk cannot be reserved")
def test_images_and_momentum_are_not_the_servers_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.system.memory.SPARE", 0.0)
    of_class = (8, 3, 128, 128)

    def stepped(classes: int) -> ParameterServer:
        server = ParameterServer(
            initial_KICHW=on_disk((classes, *of_class), np.float32),
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            images=ImagesConfig(),
            balance=BalanceConfig(),
            loss_weights=[1.0],
            main=0,
            threads=1,
            checkpoints=CheckpointFolder(tmp_path),
            identity={},
        )
        server.begin(0, (0,), ())
        for label in range(classes):
            gradient = noise(1, *of_class, seed=label).astype(np.float32)
            balanced(server, plan(members=1), gradients_message((label,), gradient, None))
        server.apply(plan(members=1))
        server.save(1, ("server",), server.state())
        return server

    stepped(1)  # what torch keeps for itself
    before = own_bytes()
    server = stepped(24)  # 36 MiB of images, and as much momentum
    assert own_bytes() - before < 2**23
    assert server.images.version == 1 and server.state().arrays["momentum"].any()
