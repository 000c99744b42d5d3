"""The small vision transformer against timm's."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as Timm

from hmdc_ray.models.transformer import VisionTransformer

WIDTH, DEPTH, HEADS = 48, 3, 4


def pair() -> tuple[VisionTransformer, Timm]:
    ours = VisionTransformer(grid=(2, 3), patch_size=4, channels=3, classes=5, width=WIDTH, depth=DEPTH, heads=HEADS)
    timm = Timm(img_size=(8, 12), patch_size=4, in_chans=3, num_classes=5, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)
    for block in timm.blocks:
        block.attn.fused_attn = False  # type: ignore[union-attr]
    return ours, timm


def test_it_computes_what_timm_computes_and_takes_its_weights() -> None:
    ours, timm = (network.double() for network in pair())
    with torch.no_grad():
        for parameter in timm.parameters():  # biases and norms too, which begin as zeros and ones
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ours.load_state_dict(timm.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in timm.named_parameters()]
    images = torch.randn(4, 3, 8, 12, dtype=torch.float64)
    labels = torch.tensor([0, 1, 4, 4])
    found = []
    for network in (ours, timm):
        leaf = images.clone().requires_grad_()
        logits = network(leaf)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        (second,) = torch.autograd.grad(squares, leaf)
        found.append((logits, second, *gradients))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_it_draws_weights_as_timm_does() -> None:
    ours, timm = (dict(network.named_parameters()) for network in pair())
    for name, drawn in ours.items():
        mean, deviation = timm[name].mean().item(), timm[name].std().item()
        # Six standard errors of the two together; exact where all values are equal.
        assert drawn.mean().item() == pytest.approx(mean, abs=6 * deviation * (2 / drawn.numel()) ** 0.5), name
        assert drawn.std().item() == pytest.approx(deviation, abs=6 * deviation / drawn.numel() ** 0.5), name
