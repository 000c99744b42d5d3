"""Aligners are trained on real images of their own while the networks are fixed, and a probe says
what the consensus knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from parity.runs import changed, copy_of, one_member, step_plan
from torch import Tensor, nn

from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.messages import Features, MemberTaps
from hmdc_ray.matching.alignment import Alignment
from hmdc_ray.matching.ssd import Aligner, CommonSize
from hmdc_ray.models import Tap

PLAN = replace(step_plan(), aligner_batches=2)


def started(dataset: ImageDataset, name: str = "batchnorm", **sections: Any) -> Alignment:
    member = one_member(dataset, name, **{**sections, "matching": {"aligner_images": 16, **sections.get("matching", {})}})
    own = member.begin(0)
    member.align(0, [own, MemberTaps("partner", own.taps[:1])])
    return Alignment(member)


def aligner_of(alignment: Alignment) -> Aligner:
    assert alignment.member.aligner is not None
    return alignment.member.aligner


def partner(features: Features) -> Features:
    """A consensus that is not the member's own features."""
    return Features(features.version, tuple(0.5 * part + 0.1 for part in features.batches))


def train(alignment: Alignment) -> None:
    for batch in range(PLAN.aligner_batches + 1):
        alignment.step(PLAN, batch, partner(alignment.features(PLAN, batch)))


@pytest.mark.parametrize("agreement", ["mse", "standardised"])
def test_a_pass_changes_the_whole_aligner_and_nothing_in_the_network(agreement: str, three_digits: ImageDataset) -> None:
    alignment = started(three_digits, matching={"agreement": agreement})
    alignment.member.prepare(PLAN)
    network, aligner = copy_of(alignment.member.network), copy_of(aligner_of(alignment))
    train(alignment)
    assert not changed(alignment.member.network, network)
    assert changed(aligner_of(alignment), aligner) == set(aligner)
    assert set(alignment.member.agreed) == {"before", "after"}
    assert not any(module.training for module in alignment.member.network.modules() if isinstance(module, nn.BatchNorm2d))
    assert alignment.member.network.training and not aligner_of(alignment).training


def test_the_last_batch_measures_the_first_one_again(three_digits: ImageDataset) -> None:
    alignment = started(three_digits)
    seen: list[Tensor] = []
    alignment.member.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    first = alignment.features(PLAN, 0)
    alignment.step(PLAN, 0, partner(first))
    alignment.step(PLAN, 1, partner(alignment.features(PLAN, 1)))
    before, images = copy_of(aligner_of(alignment)), len(seen)
    again = alignment.features(PLAN, 2)
    alignment.step(PLAN, 2, again)
    assert not changed(aligner_of(alignment), before)
    assert len(seen) == images, "the network was asked again for what it had given"
    assert again.batches[0].shape == first.batches[0].shape and not np.array_equal(again.batches[0], first.batches[0])
    assert alignment.member.agreed["after"] == 0 < alignment.member.agreed["before"]


def test_aligners_see_other_images_and_other_augmentations_than_networks(three_digits: ImageDataset) -> None:
    batches = started(three_digits, matching={"augmentation": "idc"}).member.batches
    plain = started(three_digits).member
    aligning = list(map(plain.batches.real, plain.batches.alignment(PLAN, plain.schedule)))
    training = list(map(plain.batches.real, plain.batches.real_training(PLAN, plain.schedule)))
    rows = [{image.numpy().tobytes() for image in torch.cat(images)} for images in (aligning, training)]
    assert [len(images) for images in rows] == [16, 16] and len(rows[0] & rows[1]) < 12
    later = plain.batches.real(plain.batches.alignment(replace(PLAN, step=1), plain.schedule)[0])
    assert not torch.equal(later, aligning[0])
    varied = batches.real(batches.alignment(PLAN, plain.schedule)[0])
    assert all(not torch.equal(one, other) for one, other in zip(varied, aligning[0], strict=True))


def test_an_aligner_that_shrinks_agrees_by_mse_and_not_when_standardised(three_digits: ImageDataset) -> None:
    """The trivial minimum: weights of 0 and equal biases. Standardised features are what they were,
    whatever their scale."""
    losses = {}
    for agreement in ("mse", "standardised"):
        alignment = started(three_digits, matching={"agreement": agreement})
        for shrink in (1.0, 1e-3):
            with torch.no_grad():
                for affine in aligner_of(alignment).affine:
                    affine.weight.mul_(shrink)  # type: ignore[operator]
                    affine.bias.zero_()  # type: ignore[operator]
            features = alignment.features(PLAN, 0)
            alignment.step(
                PLAN, PLAN.aligner_batches, Features(0, tuple(part.mean(0, keepdims=True) for part in features.batches))
            )
            losses[agreement, shrink] = alignment.member.agreed["after"]
    assert losses["mse", 1e-3] < 1e-5 * losses["mse", 1.0]
    assert losses["standardised", 1e-3] > 0.5 * losses["standardised", 1.0]


def test_standardised_features_have_mean_0_and_mean_square_1_in_the_pass_and_fixed_statistics_after_it(
    three_digits: ImageDataset,
) -> None:
    alignment = started(three_digits, "deep", matching={"agreement": "standardised", "precision": "float64"})
    member = alignment.member
    (found,) = alignment.features(PLAN, 0).batches
    assert np.allclose(found.mean(0), 0, atol=1e-12) and np.allclose((found**2).mean((0, 2, 3)), 1, rtol=1e-5)
    images = member.batches.real(member.batches.alignment(PLAN, member.schedule)[0])
    _, features = member.observe(images[:1])  # one image, which has no variance of its own
    aligner = aligner_of(alignment)
    plain = Aligner(aligner.taps, aligner.size, aligner.resize).double()
    plain.load_state_dict({name: value for name, value in aligner.state_dict().items() if not name.startswith("standard")})
    raw = plain(member.network.observe(images).features)
    variance, square = (raw - raw.mean(0)).square().mean((0, 2, 3)), raw.square().mean((0, 2, 3))
    expected = (raw[:1] - raw.mean(0)) / (variance + 1e-8 * square).sqrt()[:, None, None]
    assert features is not None and torch.allclose(features, expected, atol=1e-12)


def test_features_that_do_not_vary_are_not_standardised_to_rounding(three_digits: ImageDataset) -> None:
    """A layer of dead units: the same features for every image, of which rounding alone would be
    left."""
    taps = tuple(Tap(module=name, kind="vector", channels=3, height=0, width=0) for name in "ab")
    aligner = Aligner(taps, CommonSize(2, 0, 0, 3), "adaptive", standardise=True)
    constant, varied = torch.full((8, 3), 0.3), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    found = aligner([constant, varied]).detach()
    assert found[:, 0].abs().max() < 0.01 and 0.5 < found[:, 1].abs().max() < 5
    aligner.eval()
    moved = aligner([constant + 1e-3 * varied, varied]).detach()
    assert moved[:, 0].abs().max() < 100  # a thousandth is ten times the least deviation, a ten thousandth


def test_a_state_brings_back_the_aligner_its_statistics_and_what_was_agreed(three_digits: ImageDataset) -> None:
    first, second = (started(three_digits, matching={"agreement": "standardised"}) for _ in range(2))
    train(first)
    second.member.restore(first.member.state())
    second.member.matching_mode()
    assert second.member.agreed == first.member.agreed
    images = first.member.batches.real(first.member.batches.alignment(PLAN, first.member.schedule)[1])
    assert torch.equal(first.member.observe(images)[1], second.member.observe(images)[1])  # type: ignore[arg-type]


def test_an_aligner_of_another_common_size_stays_fresh(three_digits: ImageDataset) -> None:
    """As after a member has left that had the fewest taps."""
    alignment, member = started(three_digits), one_member(three_digits, "batchnorm")
    train(alignment)
    own = member.begin(0)
    member.align(0, [own, MemberTaps("partner", own.taps)])
    assert member.aligner is not None
    fresh = copy_of(member.aligner)
    member.restore(alignment.member.state())
    assert not changed(member.aligner, fresh) and member.agreed == alignment.member.agreed
    assert not changed(member.network, copy_of(alignment.member.network))


def test_a_member_that_is_left_alone_agrees_with_nobody(three_digits: ImageDataset) -> None:
    alignment, member = started(three_digits), one_member(three_digits, "batchnorm")
    train(alignment)
    member.begin(0)
    member.restore(alignment.member.state())
    assert alignment.member.agreed and not member.agreed


def test_a_consensus_of_another_version_is_refused(three_digits: ImageDataset) -> None:
    alignment = started(three_digits)
    features = alignment.features(PLAN, 0)
    with pytest.raises(RuntimeError, match="a consensus belongs to image version 5, but the images are at version 0"):
        alignment.step(PLAN, 0, Features(5, features.batches))


def test_the_probe_of_a_member_is_fitted_to_training_and_tried_on_validation_images(three_digits: ImageDataset) -> None:
    alignment = started(three_digits)
    batches = alignment.member.batches
    (fitted, rows), (tried, others) = batches.probe_rows(1000)
    assert (fitted, tried) == ("train", "validation")
    assert len(rows) == three_digits.info.sizes["train"] and len(others) == three_digits.info.sizes["validation"]
    assert [part[:5].tolist() for _, part in batches.probe_rows(5)] == [rows[:5].tolist(), others[:5].tolist()]
    features = alignment.probe_features(PLAN)
    assert [len(part) for part in features.batches] == [len(rows), len(others)]
    (accuracy,) = alignment.probe(PLAN, features).losses.values()
    assert accuracy > 0.8  # three digits, a fresh network
    shuffled = Features(0, tuple(np.random.default_rng(0).permutation(part) for part in features.batches))
    assert alignment.probe(PLAN, shuffled).losses["agreement/probe_accuracy"] < 0.7
