"""The vision transformer of Dosovitskiy et al. (arXiv 2010.11929), as timm's ``VisionTransformer``
of the same arguments.

Importing timm takes 3.5 s of processor time, because torchvision imports torch's compiler. Every
process that builds a small transformer would pay for it: the driver, a worker, every task that
trains a student. Names and order of parameters, the distributions they are drawn from and what is
computed are timm's, so that its weights load here; a test compares the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MLP_RATIO = 4
_NORM_EPSILON = 1e-6
_WEIGHT_DEVIATION = 0.02
_TOKEN_DEVIATION = 1e-6


class Attention(nn.Module):
    """Self-attention with several heads, written out: the fused kernels have no second derivative.

    Args:
        width: size D of a token, a multiple of ``heads``.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Tokens (B, T, D): each is the mean of all values, weighted by attention, in every
        head."""
        query, key, value = self.qkv(tokens_BTD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        fit_BHTT = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        attended_BTD: Tensor = self.proj((fit_BHTT.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))
        return attended_BTD


class Mlp(nn.Module):
    """Two linear layers with GELU between them.

    Args:
        width: size D of a token; the hidden layer is four times as wide.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Tokens (B, T, D), each transformed by itself."""
        mapped_BTD: Tensor = self.fc2(self.act(self.fc1(tokens_BTD)))
        return mapped_BTD


class Block(nn.Module):
    """Attention and MLP, each normalised before and added to its input.

    Args:
        width: size D of a token.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, _NORM_EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, _NORM_EPSILON)
        self.mlp = Mlp(width)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Tokens (B, T, D) after attention and MLP."""
        tokens_BTD = tokens_BTD + self.attn(self.norm1(tokens_BTD))
        summed_BTD: Tensor = tokens_BTD + self.mlp(self.norm2(tokens_BTD))
        return summed_BTD


class Patches(nn.Module):
    """Tokens of the patches of an image, row by row.

    Args:
        channels: number of channels of the images.
        patch_size: side of a patch in pixels.
        width: size D of a token.
    """

    def __init__(self, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Tokens (B, patches, D) of images (B, C, H, W)."""
        tokens_BTD: Tensor = self.proj(images_BCHW).flatten(2).transpose(1, 2)
        return tokens_BTD


class VisionTransformer(nn.Module):
    """A class token, a learned position embedding, and no dropout; the class token is classified.

    Args:
        grid: number of patches in height and in width.
        patch_size: side of a patch in pixels.
        channels: number of channels of the images.
        classes: number of logits.
        width: size D of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of the width.
    """

    def __init__(
        self, *, grid: tuple[int, int], patch_size: int, channels: int, classes: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + grid[0] * grid[1], width))
        self.patch_embed = Patches(channels, patch_size, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, _NORM_EPSILON)
        self.head = nn.Linear(width, classes)
        self._draw_weights()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        patches_BTD = self.patch_embed(images_BCHW)
        tokens_BTD = torch.cat([self.cls_token.expand(len(patches_BTD), -1, -1), patches_BTD], dim=1) + self.pos_embed
        logits_BK: Tensor = self.head(self.norm(self.blocks(tokens_BTD))[:, 0])
        return logits_BK

    def _draw_weights(self) -> None:
        """As timm does: linear layers get truncated normal weights and zero biases, the convolution
        what torch gives it."""
        nn.init.trunc_normal_(self.pos_embed, std=_WEIGHT_DEVIATION)
        nn.init.normal_(self.cls_token, std=_TOKEN_DEVIATION)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_WEIGHT_DEVIATION)
                nn.init.zeros_(module.bias)
