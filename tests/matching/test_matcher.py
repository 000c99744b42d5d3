from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity.runs import one_member, step_plan

from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.messages import Cotangents, Features, MemberTaps, Selection, Snapshot
from hmdc_ray.matching.matcher import Matcher

LABELS = (0, 1, 2)
PLAN = step_plan()


def started(dataset: ImageDataset, name: str = "deep", *, distil: bool = False, **sections: Any) -> Matcher:
    member = one_member(dataset, name, **sections)
    own = member.begin(0)
    if distil:
        member.align(0, [own, MemberTaps("partner", own.taps)])
    return Matcher(member)


def snapshot(version: int = 0, ipc: int = 2, seed: int = 0) -> Snapshot:
    return Snapshot(version, np.random.default_rng(seed).standard_normal((3, ipc, 1, 8, 8)).astype(np.float32))


def test_without_distillation_one_exchange_gives_one_target(three_digits: ImageDataset) -> None:
    gradients, cotangents, record = started(three_digits).match(PLAN, LABELS, snapshot(), None)
    assert cotangents is None and gradients is not None and gradients.distillation_KICHW is None
    assert gradients.version == 0 and gradients.labels == LABELS
    assert gradients.classification_KICHW.shape == (3, 2, 1, 8, 8)
    assert np.isfinite(gradients.classification_KICHW).all() and gradients.classification_KICHW.any(axis=(2, 3, 4)).all()
    assert record.losses.keys() == {"classification"} and record.losses["classification"] > 0


@pytest.mark.parametrize("augmentation", ["dsa", "idc"])
def test_synthetic_images_equal_to_the_real_ones_match_them_because_both_share_one_augmentation(
    augmentation: str, three_digits: ImageDataset
) -> None:
    matcher = started(three_digits, matching={"augmentation": augmentation})
    rows = tuple(three_digits.class_rows("train", label)[:5] for label in LABELS)
    matcher.member.select(PLAN, Selection(0, rows))
    images = np.stack([three_digits.normalised("train", some).numpy() for some in rows])
    for step in range(4):
        plan = step_plan(step)
        _, _, record = matcher.match(plan, LABELS, Snapshot(step, images), None)
        assert record.losses["classification"] < 1e-10
        _, _, other = matcher.match(plan, LABELS, Snapshot(step, images[:, :, :, ::-1].copy()), None)
        assert other.losses["classification"] > 1e-3


@pytest.mark.parametrize("distil", [False, True])
@pytest.mark.parametrize("name", ["deep", "batchnorm", "dropout"])
def test_matching_changes_nothing_in_the_network_but_statistics(distil: bool, name: str, three_digits: ImageDataset) -> None:
    matcher = started(three_digits, name, distil=distil)
    member = matcher.member
    member.prepare(PLAN)
    before = {key: value.clone() for key, value in member.network.state_dict().items()}
    state = torch.get_rng_state()
    consensus = matcher.features(PLAN, LABELS, snapshot()) if distil else None
    _, cotangents, _ = matcher.match(PLAN, LABELS, snapshot(), consensus)
    if cotangents is not None:
        matcher.pull_back(PLAN, cotangents)
    assert all(torch.equal(value, before[key]) for key, value in member.network.state_dict().items())
    assert all(parameter.grad is None for parameter in member.parameters)
    assert torch.equal(torch.get_rng_state(), state)


def test_three_exchanges_have_the_shapes_that_the_messages_promise(three_digits: ImageDataset) -> None:
    matcher = started(three_digits, distil=True)
    features = matcher.features(PLAN, (1, 2), snapshot())
    assert [batch.shape for batch in features.batches] == [(5, 2, 5, 5), (2, 2, 5, 5)] * 2
    consensus = Features(0, tuple(batch * 0.5 for batch in features.batches))
    nothing, cotangents, record = matcher.match(PLAN, (1, 2), snapshot(), consensus)
    assert nothing is None and cotangents is not None  # the gradients are not complete
    assert [batch.shape for batch in cotangents.batches] == [(2, 2, 5, 5)] * 2
    assert record.losses.keys() == {"classification", "distillation"}
    gradients = matcher.pull_back(PLAN, cotangents)
    assert gradients.labels == (1, 2) and gradients.distillation_KICHW is not None
    assert gradients.distillation_KICHW.shape == gradients.classification_KICHW.shape == (2, 2, 1, 8, 8)
    assert len(gradients.classification_losses) == len(gradients.distillation_losses) == 2
    absolute = np.abs(gradients.classification_KICHW).reshape(2, -1)
    np.testing.assert_allclose(gradients.sizes.magnitudes_K, absolute.max(1), rtol=1e-6)
    np.testing.assert_allclose(gradients.sizes.sums_K, absolute.sum(1), rtol=1e-5)
    np.testing.assert_allclose(gradients.sizes.norms_K, np.linalg.norm(absolute, axis=1), rtol=1e-5)


def test_the_third_exchange_adds_to_what_the_detached_form_stops_at(
    three_digits: ImageDataset,
) -> None:
    found = {}
    for peer_gradient in ("detached", "exact"):
        matcher = started(three_digits, distil=True, matching={"peer_gradient": peer_gradient})
        features = matcher.features(PLAN, LABELS, snapshot())
        consensus = Features(0, tuple(batch * 0.5 for batch in features.batches))
        gradients, cotangents, _ = matcher.match(PLAN, LABELS, snapshot(), consensus)
        zero = Cotangents(0, LABELS, tuple(0 * batch for batch in features.batches[1::2]))
        found[peer_gradient] = gradients or matcher.pull_back(PLAN, zero)
        assert (gradients is None) == (cotangents is not None) == (peer_gradient == "exact")
    assert found["exact"].distillation_KICHW is not None and found["detached"].distillation_KICHW is not None
    np.testing.assert_array_equal(found["exact"].distillation_KICHW, found["detached"].distillation_KICHW)
    np.testing.assert_array_equal(found["exact"].classification_KICHW, found["detached"].classification_KICHW)


def test_features_say_which_batches_are_finite(three_digits: ImageDataset) -> None:
    matcher, images = started(three_digits, distil=True), snapshot()
    images.images_KICHW[1, 0, 0, 0, 0] = np.nan
    assert matcher.features(PLAN, LABELS, images).finite == (True, True, True, False, True, True)


@pytest.mark.parametrize("peer_gradient", ["exact", "detached"])
def test_graphs_are_freed_after_the_last_exchange(peer_gradient: str, three_digits: ImageDataset) -> None:
    matcher = started(three_digits, distil=True, matching={"peer_gradient": peer_gradient})
    consensus = matcher.features(PLAN, LABELS, snapshot())
    _, cotangents, _ = matcher.match(PLAN, LABELS, snapshot(), consensus)
    if cotangents is not None:
        matcher.pull_back(PLAN, cotangents)
    assert not matcher._forwarded and not matcher._matched


def test_a_class_gives_the_same_bits_whatever_classes_it_comes_with(three_digits: ImageDataset) -> None:
    matcher = started(three_digits, "vit", matching={"augmentation": "idc"})
    together, _, _ = matcher.match(PLAN, LABELS, snapshot(), None)
    for position, label in enumerate(LABELS):
        alone, _, _ = matcher.match(PLAN, (label,), snapshot(), None)
        assert alone is not None and together is not None
        assert np.array_equal(alone.classification_KICHW[0], together.classification_KICHW[position])


def test_messages_of_another_version_are_refused_with_both_numbers(three_digits: ImageDataset) -> None:
    matcher = started(three_digits, distil=True)
    stale = "version 7, but the images are at version 0"
    with pytest.raises(RuntimeError, match=f"a snapshot belongs to image {stale}"):
        matcher.features(PLAN, LABELS, snapshot(7))
    with pytest.raises(RuntimeError, match=f"a snapshot belongs to image {stale}"):
        matcher.match(PLAN, LABELS, snapshot(7), None)
    features = matcher.features(PLAN, LABELS, snapshot())
    with pytest.raises(RuntimeError, match=f"a consensus belongs to image {stale}"):
        matcher.match(PLAN, LABELS, snapshot(), Features(7, features.batches))
    with pytest.raises(RuntimeError, match=f"a cotangent belongs to image {stale}"):
        matcher.pull_back(PLAN, Cotangents(7, LABELS, ()))
