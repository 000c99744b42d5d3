from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity.runs import changed, copy_of, one_member, step_plan
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.config import PoolConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import decode
from hmdc_ray.exchange.messages import Features, MemberRecord, MemberTaps, Snapshot
from hmdc_ray.exchange.schedule import StepPlan, plan_step
from hmdc_ray.matching.member import Member
from hmdc_ray.matching.trainer import Trainer
from hmdc_ray.seeding import Key

PLAN = step_plan()


def started(dataset: ImageDataset, name: str = "plain", *, distil: bool = False, **sections: Any) -> Trainer:
    member = one_member(dataset, name, **sections)
    own = member.begin(0)
    if distil:
        member.align(0, [own, MemberTaps("partner", own.taps[:1])])
    member.prepare(PLAN)
    return Trainer(member)


def synthetic(version: int = 1, ipc: int = 2) -> Snapshot:
    return Snapshot(version, np.random.default_rng(0).standard_normal((3, ipc, 1, 8, 8)).astype(np.float32))


def train_distilling(trainer: Trainer, plan: StepPlan) -> list[MemberRecord]:
    records = []
    for batch in range(plan.training_batches):
        features = trainer.features(plan, batch, synthetic())
        records.append(trainer.step(plan, Features(features.version, tuple(0.9 * part for part in features.batches))))
    return records


def sgd_step(network: nn.Module, loss: Tensor) -> None:
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data -= 0.01 * gradient


def train(trainer: Trainer, how: str) -> None:
    if "distillation" in how:
        train_distilling(trainer, PLAN)
    else:
        trainer.alone(PLAN, synthetic())


HOW = ["synthetic", "real", "synthetic with distillation", "real with distillation"]


@pytest.mark.parametrize("how", HOW)
def test_training_changes_every_parameter_that_the_forward_pass_uses(how: str, three_digits: ImageDataset) -> None:
    trainer = started(three_digits, distil="distillation" in how, schedule={"training": how.split()[0]})
    member = trainer.member
    images = member.batches.reader(np.arange(4))
    for iteration in range(2):
        own = member.begin(iteration)
        if "distillation" in how:
            member.align(iteration, [own, MemberTaps("partner", own.taps)])
        before, logits = copy_of(member.network), member.network(images).detach()
        train(trainer, how)
        assert changed(member.network, before) == set(before)
        assert not torch.allclose(member.network(images), logits)
        assert all(parameter.grad is None for parameter in member.parameters)


def test_training_on_synthetic_images_is_plain_sgd_on_cross_entropy(three_digits: ImageDataset) -> None:
    trainer = started(
        three_digits, images={"formation": 2}, schedule={"training": "synthetic", "inner_epochs": 3, "batch": 256}
    )
    network = trainer.member.network
    reference = one_member(three_digits, "plain").network
    reference.load_state_dict(network.state_dict())
    record = trainer.alone(step_plan(training_batches=3), synthetic())

    images_KICHW = torch.tensor(synthetic().images_KICHW)
    decoded = torch.cat([decode(images, 2) for images in images_KICHW])
    labels = torch.arange(3).repeat_interleave(8)
    losses = []
    for _ in range(3):
        loss = F.cross_entropy(reference(decoded), labels)
        losses.append(float(loss.detach()))
        sgd_step(reference, loss)
    for found, expected in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert record.losses["training"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_training_on_real_images_is_plain_sgd_on_cross_entropy_with_their_own_labels(three_digits: ImageDataset) -> None:
    trainer = started(three_digits)
    member = trainer.member
    reference = one_member(three_digits, "plain").network
    reference.load_state_dict(member.network.state_dict())
    trainer.alone(PLAN, synthetic())
    rows = Key(0, "train_images").numpy().permutation(three_digits.info.sizes["train"])[:16]
    for some in (rows[:8], rows[8:]):
        images, labels = three_digits.normalised("train", some), torch.from_numpy(three_digits.labels("train")[some])
        sgd_step(reference, F.cross_entropy(reference(images), labels))
    for found, expected in zip(member.parameters, reference.parameters(), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_every_epoch_sees_every_synthetic_image_once(three_digits: ImageDataset) -> None:
    trainer = started(three_digits, schedule={"training": "synthetic", "inner_epochs": 2, "batch": 5})
    seen: list[Tensor] = []
    trainer.member.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer.alone(step_plan(training_batches=6), synthetic(ipc=4))
    assert [len(batch) for batch in seen] == [5, 5, 2] * 2
    images = torch.tensor(synthetic(ipc=4).images_KICHW).flatten(0, 1)
    orders = []
    for epoch in (torch.cat(seen[:3]), torch.cat(seen[3:])):
        order = [int((images == image).flatten(1).all(1).int().argmax()) for image in epoch]
        assert sorted(order) == list(range(12))
        orders.append(order)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("how", HOW)
def test_a_single_image_left_over_joins_the_batch_before_it(how: str, three_digits: ImageDataset) -> None:
    distils = "distillation" in how
    schedule = {"training": how.split()[0], "real_images": 9, "batch": 4 if "real" in how else 5}
    trainer = started(three_digits, "one-pixel", distil=distils, schedule=schedule)
    member, sizes = trainer.member, []
    member.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    pool = PoolConfig(members=(member.config,))
    facts: dict[str, Any] = {"seed": 0, "classes": 3, "train_images": 80, "version": 0, "synthetic_images": 6}
    plan = plan_step(member.schedule, member.matching, pool, **facts)
    train_distilling(trainer, plan) if distils else trainer.alone(plan, synthetic())
    assert sizes == ([4, 5] if "real" in how else [6])


def test_distillation_adds_its_loss_and_leaves_the_aligner_alone(three_digits: ImageDataset) -> None:
    trainer = started(three_digits, "deep", distil=True)
    aligner = trainer.member.aligner
    assert aligner is not None
    before = copy_of(aligner)
    *records, last = train_distilling(trainer, PLAN)
    assert not changed(aligner, before)
    assert last.losses.keys() == {"training", "agreement"} and last.losses["agreement"] > 0
    assert not any(record.losses for record in records)

    plain = started(three_digits, "deep")
    plain.alone(PLAN, synthetic())
    pairs = zip(plain.member.parameters, trainer.member.parameters, strict=True)
    assert any(not torch.equal(first, second) for first, second in pairs)


def test_a_consensus_equal_to_the_features_adds_nothing(three_digits: ImageDataset) -> None:
    distilling, plain = started(three_digits, "deep", distil=True), started(three_digits, "deep")
    for batch in range(PLAN.training_batches):
        distilling.step(PLAN, distilling.features(PLAN, batch, synthetic()))
    plain.alone(PLAN, synthetic())
    for found, expected in zip(distilling.member.parameters, plain.member.parameters, strict=True):
        assert torch.allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("training", ["real", "synthetic"])
def test_batchnorm_statistics_move_while_training(training: str, three_digits: ImageDataset) -> None:
    trainer = started(three_digits, "batchnorm", schedule={"training": training})
    before = copy_of(trainer.member.network)
    trainer.alone(PLAN, synthetic())
    moved = changed(trainer.member.network, before)
    assert {name for name in before if "running" in name or "num_batches" in name} <= moved


@pytest.mark.parametrize("how", ["real", "synthetic with distillation"])
def test_all_members_see_the_same_images_and_labels(how: str, three_digits: ImageDataset) -> None:
    seen = []
    for index, name in enumerate(("plain", "mlp")):
        schedule = {"training": how.split()[0], "batch": 8, "inner_epochs": 2}
        member: Member = one_member(three_digits, name, index=index, matching={"augmentation": "idc"}, schedule=schedule)
        own = member.begin(0)
        if "distillation" in how:
            member.align(0, [own, MemberTaps("partner", own.taps)])
        batches: list[Tensor] = []
        member.network.register_forward_pre_hook(lambda _, inputs, batches=batches: batches.append(inputs[0]))
        Trainer(member).alone(PLAN, synthetic())
        seen.append(torch.cat(batches))
    assert len(seen[0]) == (16 if how == "real" else 12)
    assert torch.equal(seen[0], seen[1])


def test_members_that_do_not_exchange_see_synthetic_images_in_an_order_of_their_own(three_digits: ImageDataset) -> None:
    seen = []
    for index in (0, 1):
        member = one_member(three_digits, "plain", index=index, schedule={"training": "synthetic"})
        member.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        Trainer(member).alone(step_plan(training_batches=1), synthetic())
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("training", ["real", "synthetic"])
@pytest.mark.parametrize("order", ["dsa", "idc"])
def test_every_image_of_a_training_batch_is_varied_on_its_own(order: str, training: str, three_digits: ImageDataset) -> None:
    """A batch of equal images: what one draw for all would leave equal."""
    member = one_member(three_digits, "plain", matching={"augmentation": order}, schedule={"training": training})
    same = torch.ones(1, 1, 8, 8).tril().expand(8, 1, 8, 8)

    def vary(images: Tensor) -> Tensor:
        return member.batches._draw(Key(0, "train_augmentation"), len(images))(images)

    varied = vary(same)
    different = {image.numpy().tobytes() for image in varied}
    assert len(different) >= 5  # some draws are, or nearly are, the identity
    seen: list[Tensor] = []
    member.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    Trainer(member).alone(step_plan(training_batches=1), synthetic(ipc=3))
    plain = one_member(three_digits, "plain", schedule={"training": training})
    plain.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    Trainer(plain).alone(step_plan(training_batches=1), synthetic(ipc=3))
    assert torch.equal(seen[0], vary(seen[1]))


def test_cutmix_is_applied_to_members_that_ask_for_it_only(three_digits: ImageDataset) -> None:
    after = []
    for cutmix in (False, True):
        trainer = started(three_digits, config={"cutmix": cutmix}, schedule={"real_images": 40, "batch": 8})
        trainer.alone(step_plan(training_batches=5), synthetic())
        after.append(torch.cat([parameter.detach().flatten() for parameter in trainer.member.parameters]))
    assert not torch.equal(after[0], after[1])


def test_training_leaves_the_global_generator_alone_and_repeats_itself(three_digits: ImageDataset) -> None:
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        trainer = started(three_digits, "dropout")
        trainer.alone(PLAN, synthetic())
        results.append(torch.cat([parameter.detach().flatten() for parameter in trainer.member.parameters]))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(results[0], results[1])


def test_messages_of_another_version_are_refused(three_digits: ImageDataset) -> None:
    trainer = started(three_digits, "deep", distil=True)
    with pytest.raises(RuntimeError, match="a snapshot belongs to image version 0, but the images are at version 1"):
        trainer.alone(PLAN, synthetic(version=0))
    features = trainer.features(PLAN, 0, synthetic())
    with pytest.raises(RuntimeError, match="a consensus belongs to image version 5, but the images are at version 0"):
        trainer.step(PLAN, Features(5, features.batches))
