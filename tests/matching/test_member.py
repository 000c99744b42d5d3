from __future__ import annotations

import numpy as np
import pytest
import torch
from parity.runs import one_member, step_plan
from torch import Tensor, nn

from benchmarks.pretend_device import pretend_device
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.messages import MemberTaps, Selection
from hmdc_ray.matching.member import Member


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def aligned(member: Member, iteration: int = 0) -> Member:
    """Begin an iteration with a partner of two taps."""
    own = member.begin(iteration)
    partner = MemberTaps("partner", own.taps[:1])
    member.align(iteration, [own, partner])
    return member


def batchnorm_of(member: Member) -> list[nn.BatchNorm2d]:
    return [module for module in member.network.modules() if isinstance(module, nn.BatchNorm2d)]


def running_means(member: Member) -> Tensor:
    means = [layer.running_mean for layer in batchnorm_of(member)]
    return torch.cat([mean.clone() for mean in means if mean is not None])


# Start of an iteration


def test_the_optimisers_hold_what_the_forward_pass_uses_after_every_begin(three_digits: ImageDataset) -> None:
    member = one_member(three_digits, "deep")
    for iteration in range(3):
        aligned(member, iteration)
        assert member.aligner is not None
        for optimiser, module in ((member.optimiser, member.network), (member.aligner_optimiser, member.aligner)):
            (group,) = optimiser.param_groups
            held = [id(parameter) for parameter in group["params"]]
            assert held == [id(parameter) for parameter in module.parameters()]
        assert [id(parameter) for parameter in member.parameters] == [id(p) for p in member.network.parameters()]

        images = member.batches.reader(np.arange(3))
        before = member.network(images).detach()
        (group,) = member.optimiser.param_groups
        with torch.no_grad():
            group["params"][0].mul_(2)  # the first layer, which a mix-up of networks would leave untrained
        assert not torch.allclose(member.network(images), before)


def test_every_iteration_starts_with_other_weights_and_the_same_one_with_the_same(three_digits: ImageDataset) -> None:
    member = one_member(three_digits, "deep")
    networks, aligners = [], []
    for iteration in (0, 1, 0):
        aligned(member, iteration)
        assert member.aligner is not None
        networks.append(weights(member.network))
        aligners.append(weights(member.aligner))
    for first, second, again in (networks, aligners):
        assert not torch.equal(first, second) and torch.equal(first, again)


def test_members_of_one_architecture_differ(three_digits: ImageDataset) -> None:
    first, second = (one_member(three_digits, "deep", index=index) for index in (0, 1))
    assert not torch.equal(weights(first.network), weights(second.network))


def test_begin_forgets_the_aligner_the_selection_and_the_statistics(three_digits: ImageDataset) -> None:
    member = aligned(one_member(three_digits, "batchnorm"))
    plan = step_plan()
    member.prepare(plan)
    member.select(plan, Selection(0, tuple(np.arange(2) for _ in range(3))))
    first = running_means(member)
    taps = member.begin(0)
    assert member.aligner is None and member.agreement is None and member.selection is None
    assert taps.name == "batchnorm" and taps.taps == member.network.taps
    assert not running_means(member).any()
    member.prepare(plan)
    assert torch.equal(running_means(member), first)


def test_nothing_touches_the_global_generator(three_digits: ImageDataset) -> None:
    state = torch.get_rng_state()
    member = one_member(three_digits, "dropout", images={"initialise": "kmeans"})
    member.initial_images()
    aligned(member, 1)
    member.prepare(step_plan(iteration=1))
    member.choose(step_plan(iteration=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_initial_images_do_not_depend_on_what_the_member_did_before(three_digits: ImageDataset) -> None:
    for name in ("batchnorm", "dropout"):
        member = one_member(three_digits, name, images={"initialise": "kmeans", "ipc": 3})
        first = member.initial_images()
        torch.rand(3)  # an embedding with dropout would take its draws from there
        aligned(member, 1)
        assert np.array_equal(first, member.initial_images())


def test_a_state_leaves_a_device_in_one_copy_and_comes_back(three_digits: ImageDataset) -> None:
    on_cpu = aligned(one_member(three_digits, "batchnorm"))
    with pretend_device() as (device, waits):
        member = aligned(one_member(three_digits, "batchnorm", device=device))
        waits.counts.clear()
        state = member.state()
        assert (waits.total("copies from the device"), waits.total("synchronisations")) == (1, 0)
        assert state.arrays.keys() == on_cpu.state().arrays.keys()
        assert all(np.array_equal(state.arrays[name], array) for name, array in on_cpu.state().arrays.items())
        aligned(member, iteration=1).restore(state)
        assert all(np.array_equal(array, state.arrays[name]) for name, array in member.state().arrays.items())


# BatchNorm


def test_batchnorm_statistics_are_taken_once_a_step_and_then_frozen(three_digits: ImageDataset) -> None:
    member = one_member(three_digits, "batchnorm")
    member.begin(0)
    images = member.batches.reader(np.arange(6))
    counts = []
    means = []
    for step in (0, 0, 1):
        member.prepare(step_plan(step))
        means.append(running_means(member))
        member.network(images)
        member.network.observe(images)
        assert torch.equal(running_means(member), means[-1])
        assert member.network.training and not any(layer.training for layer in batchnorm_of(member))
        counts.append([int(layer.num_batches_tracked or 0) for layer in batchnorm_of(member)])
    assert counts == [[1, 1], [1, 1], [2, 2]]
    assert torch.equal(means[0], means[1]) and not torch.equal(means[1], means[2])


def test_statistics_are_those_of_the_real_images_with_torchs_momentum(three_digits: ImageDataset) -> None:
    member = one_member(three_digits, "batchnorm")
    member.begin(0)
    first = next(module for module in member.network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        expected = 0.1 * first(member.batches.statistics_images(step_plan())).mean((0, 2, 3))
    member.prepare(step_plan())
    assert torch.allclose(running_means(member)[:4], expected, atol=1e-6)


# Choice of real images


@pytest.mark.parametrize("name", ["batchnorm", "dropout"])
def test_choice_is_of_each_class_and_leaves_the_network_as_it_was(name: str, three_digits: ImageDataset) -> None:
    member = one_member(three_digits, name)
    member.begin(0)
    member.prepare(step_plan())
    before = {key: value.clone() for key, value in member.network.state_dict().items()}
    selection = member.choose(step_plan())
    assert selection.version == 0 and len(selection.rows) == 3
    for label, rows in enumerate(selection.rows):
        assert len(set(rows.tolist())) == 5
        assert (three_digits.labels("train")[rows] == label).all()
    assert all(torch.equal(value, before[key]) for key, value in member.network.state_dict().items())
    assert member.network.training and not any(layer.training for layer in batchnorm_of(member))
    again = member.choose(step_plan())
    assert all(np.array_equal(first, second) for first, second in zip(selection.rows, again.rows, strict=True))


def test_a_selection_for_another_version_is_refused(three_digits: ImageDataset) -> None:
    member = one_member(three_digits, "shallow")
    with pytest.raises(RuntimeError, match="version 4, but the images are at version 3"):
        member.select(step_plan(3), Selection(4, ()))


def test_a_member_that_begins_later_can_use_what_another_uses(three_digits: ImageDataset) -> None:
    member, other = (one_member(three_digits, "shallow") for _ in range(2))
    member.select(step_plan(), member.choose(step_plan()))
    assert member.selection is not None
    other.select(step_plan(3), member.current_selection(step_plan(3)))
    assert other.selection is not None and all(map(np.array_equal, other.selection, member.selection))
    member.begin(0)
    other.select(step_plan(3), member.current_selection(step_plan(3)))
    assert other.selection is None


# State


def test_a_restored_member_is_the_member(three_digits: ImageDataset) -> None:
    member = aligned(one_member(three_digits, "batchnorm"))
    member.prepare(step_plan())
    member.select(step_plan(), member.choose(step_plan()))
    assert member.aligner is not None
    for optimiser, module in ((member.optimiser, member.network), (member.aligner_optimiser, member.aligner)):
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    saved = member.state()
    member.aligner_optimiser.step()  # the saved state is a copy

    other = aligned(one_member(three_digits, "batchnorm"))
    other.restore(saved)
    restored = other.state()
    assert restored.arrays.keys() == saved.arrays.keys()
    assert all(np.array_equal(restored.arrays[name], saved.arrays[name]) for name in saved.arrays)
    assert {name.split("/")[0] for name in saved.arrays} == {"network", "aligner", "aligner_optimiser", "selection"}
    assert any(name.endswith("running_mean") for name in saved.arrays)
    assert [id(p) for p in other.optimiser.param_groups[0]["params"]] == [id(p) for p in other.network.parameters()]


def test_a_state_of_another_architecture_is_refused(three_digits: ImageDataset) -> None:
    deep, shallow = one_member(three_digits, "deep"), one_member(three_digits, "shallow")
    with pytest.raises(RuntimeError, match=r"module\.blocks"):
        shallow.restore(deep.state())
