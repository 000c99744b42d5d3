"""Measured bytes against independent counts, and against whole batches; and that measuring leaves
nothing behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from parity.runs import one_member, step_plan
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.pretend_device import pretend_device
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.messages import Features, MemberTaps, Snapshot
from hmdc_ray.matching import footprint
from hmdc_ray.matching.alignment import PROBE_BATCH, Alignment
from hmdc_ray.matching.device_choice import EMBEDDING_BYTES
from hmdc_ray.matching.footprint import LiveBytes, measure
from hmdc_ray.matching.matcher import Matcher
from hmdc_ray.matching.member import Member
from hmdc_ray.matching.probe import CLASSIFIER_BYTES

FLOAT = 4
REAL, IPC, FORMATION = 24, 5, 2


def test_bytes_in_use_are_counted_by_hand() -> None:
    existing = torch.ones(1000)
    with LiveBytes([existing]) as counted:
        first = torch.ones(100)
        assert counted.now == 100 * FLOAT
        second = first.view(10, 10).t() + existing[:10]  # views are no memory of their own
        assert counted.now == 200 * FLOAT
        del first
        assert counted.now == 100 * FLOAT
        second.add_(1)
        third = second.double()
        assert counted.now == 100 * FLOAT + 100 * 8
        del second, third
        assert counted.now == 0
    assert max(counted.after) >= 100 * FLOAT + 100 * 8
    assert len(torch.ones(5)) == 5 and counted.now == 0  # outside of the block


def test_a_graph_takes_what_autograd_saves() -> None:
    """Against torch's own hooks on saved tensors, of which there are no others than the layers'
    inputs and outputs."""
    network = nn.Sequential(nn.Linear(7, 11), nn.Tanh(), nn.Linear(11, 13), nn.Sigmoid(), nn.Linear(13, 3))
    images = torch.ones(17, 7)
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network(images)
    outside = {tensor.untyped_storage().data_ptr() for tensor in (images, *network.parameters())}
    expected = sum(tensor.untyped_storage().nbytes() for pointer, tensor in saved.items() if pointer not in outside)
    assert expected == 17 * (11 + 13) * FLOAT
    del logits
    saved.clear()
    with LiveBytes([images, *network.parameters()]) as counted:
        logits = network(images)
    assert counted.now == expected + 17 * 3 * FLOAT
    del logits
    assert counted.now == 0


def member(dataset: ImageDataset, name: str, distil: bool, **sections: Any) -> tuple[Member, list[MemberTaps]]:
    made = one_member(
        dataset,
        name,
        matching={"real_batch": REAL, "augmentation": "idc", "mutual_distillation": distil, **sections.pop("matching", {})},
        images={"ipc": IPC, "formation": FORMATION, "initialise": "noise"},
        **sections,
    )
    own = made.begin(0)
    return made, [own, MemberTaps("partner", own.taps)] if distil else []


@pytest.mark.parametrize("distil", [False, True])
@pytest.mark.parametrize("name", ["deep", "batchnorm", "mlp", "vit"])
def test_whole_batches_take_what_few_images_foretold(name: str, distil: bool, three_digits: ImageDataset) -> None:
    made, drawn = member(three_digits, name, distil, schedule={"training": "none"})
    foretold = measure(made, drawn)
    made.begin(0)
    if drawn:
        made.align(0, drawn)
    plan = step_plan()
    made.prepare(plan)
    images = np.random.default_rng(0).standard_normal((3, IPC, 1, 8, 8)).astype(np.float32)
    matcher, snapshot, consensus, kept = Matcher(made), Snapshot(0, images), None, 0
    with footprint._counted(made) as counted:
        if drawn:
            consensus = Features(0, matcher.features(plan, (0,), snapshot).batches)
            kept = counted.now
            assert foretold.message == sum(batch.nbytes for batch in consensus.batches)
        gradients, cotangents, _ = matcher.match(plan, (0,), snapshot, consensus)
        if cotangents is not None:
            gradients = matcher.pull_back(plan, cotangents)
    assert gradients is not None
    waiting = 2 * gradients.classification_KICHW.nbytes
    assert foretold.kept - waiting == pytest.approx(kept, rel=0.02)
    assert foretold.matching - waiting == pytest.approx(footprint.HEAP * max(counted.after), rel=0.02)


@pytest.mark.parametrize(("name", "images", "batch"), [("deep", 60, 24), ("vit", 150, 100), ("batchnorm", 20, 64)])
def test_training_an_aligner_and_probing_take_what_few_images_foretold(
    name: str, images: int, batch: int, three_digits: ImageDataset
) -> None:
    """The aligner pass in several batches, in one and another, and in one."""
    settings: dict[str, dict[str, Any]] = {
        "matching": {"aligner_images": images, "probe_every": 2},
        "schedule": {"training": "none", "batch": batch},
    }
    made, drawn = member(three_digits, name, True, **settings)
    foretold = measure(made, drawn).other
    made.begin(0)
    batches = len(batch_slices(min(images, three_digits.info.sizes["train"]), batch))
    plan = replace(step_plan(), aligner_batches=batches)
    made.prepare(plan)
    alignment = Alignment(made)
    with footprint._counted(made) as passed:
        made.align(0, drawn)
        for index in range(batches + 1):
            alignment.step(plan, index, alignment.features(plan, index))
    with footprint._counted(made) as probed:
        features = alignment.probe_features(plan)
    fitted = features.batches[0].size * CLASSIFIER_BYTES
    live = footprint.INFERENCE_HEAP * max(*passed.after, *probed.after)
    assert foretold == pytest.approx(max(live, fitted), rel=0.03)
    assert footprint._aligner_pass(made, plan, drawn) == pytest.approx(max(passed.after), rel=0.03)
    foretold_features, foretold_fit = footprint._probe(made, plan)
    assert foretold_features == pytest.approx(max(probed.after), rel=0.03) and foretold_fit == fitted
    assert max(map(len, features.batches)) > PROBE_BATCH  # in several forwards
    settings["matching"]["probe_every"] = 401  # more than there are steps
    never, _ = member(three_digits, name, True, **settings)
    never.align(0, drawn)
    assert footprint._probe(never, plan) == (0, 0)


def test_a_real_batch_is_no_larger_than_its_class(three_digits: ImageDataset) -> None:
    rows = max(three_digits.info.class_sizes)
    at_most, more, fewer = (
        measure(*member(three_digits, "deep", True, matching={"real_batch": size})).kept for size in (rows, 400, rows - 5)
    )
    assert at_most == more > fewer


def test_training_and_choosing_images_count_too(three_digits: ImageDataset) -> None:
    nothing = measure(*member(three_digits, "deep", False, schedule={"training": "none"})).other
    small, large = (
        measure(*member(three_digits, "deep", False, schedule={"real_images": 64, "batch": size})).other for size in (16, 64)
    )
    synthetic = measure(*member(three_digits, "deep", False, schedule={"training": "synthetic", "batch": 16})).other
    chosen = measure(*member(three_digits, "deep", False, schedule={"training": "none"}, matching={"sampler": "kmeans"})).other
    assert nothing == 0 < small < large < 4.2 * small
    assert synthetic > small and chosen > 0


def test_the_largest_form_of_random_options_counts(three_digits: ImageDataset) -> None:
    def kept(widths: list[int]) -> int:
        made, drawn = member(three_digits, "shallow", True, config={"random_options": {"activation": ["swish"]}})
        made.config = made.config.model_copy(update={"options": {"depth": 1}, "random_options": {"width": widths}})
        return measure(made, drawn).kept

    assert kept([4]) < kept([16]) == kept([4, 16]) == kept([16, 4])


@pytest.mark.parametrize("name", ["batchnorm", "dropout"])
def test_measuring_leaves_nothing_behind(name: str, three_digits: ImageDataset) -> None:
    made, drawn = member(three_digits, name, True, schedule={"training": "real"}, matching={"sampler": "kmeans"})
    before, state = made.state(), torch.get_rng_state()
    numbers = np.random.get_state()[1].tolist()  # type: ignore[index]
    measure(made, drawn)
    after = made.state()
    assert before.arrays.keys() == after.arrays.keys()
    assert all(before.arrays[name].tobytes() == after.arrays[name].tobytes() for name in before.arrays)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numbers  # type: ignore[index]
    assert made.selection is None and made.aligner is None and made.clock.take() == {}


def test_on_a_device_images_are_also_clustered_and_messages_packed(three_digits: ImageDataset) -> None:
    sampler: dict[str, Any] = {"matching": {"sampler": "kmeans"}, "schedule": {"training": "none"}}
    with pretend_device() as (device, _):
        found, members = (
            [],
            [one_member(three_digits, "mlp", device=place, **sampler) for place in (torch.device("cpu"), device)],
        )
        for member in members:
            taps = member.begin(0)
            found.append(measure(member, [taps, MemberTaps("partner", taps.taps)]))
    on_cpu, on_device = found
    assert on_device.message == on_cpu.message and on_device.kept >= on_cpu.kept + on_cpu.message
    rows = max(len(three_digits.class_rows("train", label)) for label in range(3))
    assert on_device.other >= footprint.INFERENCE_HEAP * rows * 6 * EMBEDDING_BYTES  # an MLP with six hidden units
