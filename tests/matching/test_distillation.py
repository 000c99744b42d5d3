"""The two forms of L_MD, its residuals, and the tokens that count."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from parity.runs import consensus_of
from torch import Tensor

from hmdc_ray.exchange.tensors import all_finite
from hmdc_ray.matching.distillation import Agreement, RunningConsensus

BATCH, LAYERS, TOKENS, CHANNELS = 3, 2, 5, 4


def mask(*spatial_layers: bool) -> Tensor:
    """The semantic token of every layer, and the spatial ones of the layers for which True is
    given."""
    mask_LT = torch.ones(LAYERS, TOKENS, dtype=torch.bool)
    mask_LT[:, 1:] = torch.tensor(spatial_layers)[:, None]
    return mask_LT


FULL, VECTORS, FIRST = mask(True, True), mask(False, False), mask(True, False)
POOLS = [
    pytest.param([FULL, FULL], id="two"),
    pytest.param([FULL] * 3, id="three"),
    pytest.param([FULL] * 5, id="five"),
    pytest.param([FULL, VECTORS], id="two-one-with-vectors"),
    pytest.param([FULL, VECTORS, FULL], id="three-one-with-vectors"),
    pytest.param([VECTORS, FIRST, FULL, FULL], id="four-mixed"),
    pytest.param([VECTORS, VECTORS, FULL], id="one-with-maps"),
]


def features(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, LAYERS, TOKENS, CHANNELS, generator=generator, dtype=torch.float64) for _ in range(count)]


def pairwise(parts: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The mean over kept tokens of the mean over pairs of members that have the token, written as
    loops."""
    losses = []
    for layer in range(LAYERS):
        for token in range(TOKENS):
            having = [part[:, layer, token] for part, mask_LT in zip(parts, masks, strict=True) if mask_LT[layer, token]]
            if len(having) >= 2:
                pairs = [(a - b).square().mean() for a, b in combinations(having, 2)]
                losses.append(torch.stack(pairs).mean())
    return torch.stack(losses).mean()


def consensus_form(parts: list[Tensor], masks: list[Tensor]) -> Tensor:
    agreement = Agreement(masks)
    consensus = consensus_of(agreement, parts)
    return torch.stack([agreement.loss(member, part, consensus) for member, part in enumerate(parts)]).sum()


@pytest.mark.parametrize("masks", POOLS)
def test_pairwise_and_consensus_forms_agree(masks: list[Tensor]) -> None:
    parts = features(len(masks))
    assert torch.isclose(consensus_form(parts, masks), pairwise(parts, masks), rtol=1e-12)


def test_two_members_give_the_plain_mean_squared_difference() -> None:
    first, second = features(2)
    assert torch.isclose(consensus_form([first, second], [FULL, FULL]), torch.nn.functional.mse_loss(first, second), rtol=1e-12)


@pytest.mark.parametrize("masks", POOLS)
def test_with_a_constant_consensus_the_gradient_is_that_of_the_pairwise_form(masks: list[Tensor]) -> None:
    parts = [part.requires_grad_() for part in features(len(masks))]
    expected = torch.autograd.grad(pairwise(parts, masks), parts)
    agreement = Agreement(masks)
    consensus = consensus_of(agreement, [part.detach() for part in parts])
    for member, (part, gradient) in enumerate(zip(parts, expected, strict=True)):
        (found,) = torch.autograd.grad(agreement.loss(member, part, consensus), part)
        assert torch.allclose(found, gradient, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("masks", POOLS)
def test_tokens_that_a_member_lacks_or_that_are_dropped_change_nothing(masks: list[Tensor]) -> None:
    parts, agreement = features(len(masks)), Agreement(masks)
    counts_LT = torch.stack(masks).sum(0)
    assert torch.equal(agreement.kept_LT, counts_LT >= 2)
    irrelevant = [(~mask_LT | (counts_LT < 2))[:, :, None] for mask_LT in masks]
    changed = [part + 7 * noise * where for part, noise, where in zip(parts, features(len(masks), 1), irrelevant, strict=True)]
    assert torch.equal(consensus_of(agreement, changed), consensus_of(agreement, parts))
    assert torch.equal(consensus_form(changed, masks), consensus_form(parts, masks))
    leaf = parts[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(agreement.loss(0, leaf, consensus_of(agreement, parts)), leaf)
    assert gradient.any()
    assert not gradient.masked_select(irrelevant[0].expand_as(gradient)).any()


@pytest.mark.parametrize("masks", POOLS)
def test_cotangents_of_the_consensus_go_back_as_autograd_takes_them(masks: list[Tensor]) -> None:
    parts = [part.requires_grad_() for part in features(len(masks))]
    agreement = Agreement(masks)
    (cotangent,) = features(1, seed=2)
    expected = torch.autograd.grad(consensus_of(agreement, parts), parts, grad_outputs=cotangent)
    share = agreement.mean(cotangent)
    for member, gradient in enumerate(expected):
        assert torch.allclose(agreement.own(member, share), gradient)


def running_mean(agreement: Agreement, parts: list[Tensor], groups: Sequence[int]) -> Tensor:
    running, left = RunningConsensus(agreement), list(parts)
    for size in groups:
        taken = [left.pop(0) for _ in range(size)]
        running.add(taken, [all_finite(part) for part in taken])
    assert not left
    return running.mean()


@pytest.mark.parametrize("groups", [(1, 1, 1), (2, 1), (3,)])
def test_adding_members_a_few_at_a_time_is_the_consensus(groups: tuple[int, ...]) -> None:
    masks = [FULL, VECTORS, FIRST]
    agreement, parts = Agreement(masks), features(3)
    assert torch.allclose(running_mean(agreement, parts, groups), consensus_of(agreement, parts), rtol=1e-14, atol=1e-15)
    for layer in range(LAYERS):
        for token in range(TOKENS):
            having = [part[:, layer, token] for part, mask_LT in zip(parts, masks, strict=True) if mask_LT[layer, token]]
            expected = torch.stack(having).mean(0) if len(having) > 1 else torch.zeros(BATCH, CHANNELS)
            assert torch.allclose(consensus_of(agreement, parts)[:, layer, token], expected.double())


def test_features_are_read_and_not_written() -> None:
    """They lie in memory that others read."""
    masks = [FULL, FULL, FIRST]
    parts = features(3)
    before = [part.clone() for part in parts]
    running_mean(Agreement(masks), parts, (1, 2))
    assert all(torch.equal(part, kept) for part, kept in zip(parts, before, strict=True))


@pytest.mark.parametrize(("value", "has_a_say"), [(1e30, True), (torch.inf, False), (torch.nan, False)])
def test_only_features_that_are_not_finite_have_no_say(value: float, has_a_say: bool) -> None:
    """The square of 1e30 is not finite in float32, but the feature is."""
    good, other = (part.float() for part in features(2))
    other[1, 0, 0, 0] = value
    consensus = running_mean(Agreement([FULL, FULL]), [good, other], (2,))
    assert torch.equal(consensus, (good + other) / 2 if has_a_say else good)
