"""Spatial-Semantic Decomposition (HMDC section 3.2): features of different networks brought to one
shape.

Shapes: B images; L layers, T = 1 + height * width tokens (the first is the semantic one), D
channels, all common to the members drawn; c, h, w those of one tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.models.average_pool import average_pool
from hmdc_ray.models.network import Tap

SMALLEST_DEVIATION = 1e-4
"""Least deviation of a layer's features over images, as a fraction of their root mean square: where
features do not vary at all, only rounding errors would be left, which must not be scaled up to look
like information."""

SMALLEST_SQUARE = 1e-30
"""Added to the square of a layer's scale, which is 0 where all its features are 0."""

Resize = Literal["adaptive", "bilinear"]


@dataclass(frozen=True)
class CommonSize:
    """The shape that the members drawn can all reach: the least of each.

    Attributes:
        layers: least number of taps.
        height: least tap height among taps with a spatial part; 0 if there are none.
        width: least tap width among taps with a spatial part; 0 if there are none.
        channels: least channel count of a tap.
    """

    layers: int
    height: int
    width: int
    channels: int

    @property
    def tokens(self) -> int:
        """T, semantic token included."""
        return 1 + self.height * self.width


def common_size(members: Sequence[Sequence[Tap]]) -> CommonSize:
    """The common size of members, from each one's taps (one or more)."""
    taps = [tap for member in members for tap in member]
    spatial = [tap for tap in taps if tap.kind != "vector"]
    return CommonSize(
        layers=min(len(member) for member in members),
        height=min((tap.height for tap in spatial), default=0),
        width=min((tap.width for tap in spatial), default=0),
        channels=min(tap.channels for tap in taps),
    )


def token_mask(taps: Sequence[Tap], size: CommonSize) -> Tensor:
    """Which tokens a member has: bool (L, T).

    Every member has the semantic token of every layer. It has the spatial ones of a layer if a tap
    with a spatial part feeds that layer: its own tap when taps and layers are as many, any tap when
    they are mixed.
    """
    spatial = torch.tensor([tap.kind != "vector" for tap in taps])
    if len(taps) > size.layers:
        spatial = spatial.any().expand(size.layers)
    mask_LT = torch.ones(size.layers, size.tokens, dtype=torch.bool)
    mask_LT[:, 1:] = spatial[:, None]
    return mask_LT


def decompose(feature: Tensor, tap: Tap) -> tuple[Tensor, Tensor | None]:
    """Split a tap's feature into its semantic part (B, c) and its spatial part (B, c, h, w), None
    for a vector.

    Args:
        feature: a map (B, c, h, w), tokens (B, 1 + h * w, c) with the class token first, or a
            vector (B, c).
        tap: kind and sizes of the feature.
    """
    # HMDC section 3.2: the semantic part says what is in the image, the spatial part where.
    if tap.kind == "vector":
        return feature, None
    if tap.kind == "map":
        return feature.mean(dim=(2, 3)), feature
    return feature[:, 0], feature[:, 1:].transpose(1, 2).unflatten(2, (tap.height, tap.width))


class Standard(nn.Module):
    """Subtracts features' mean over images and divides each layer by its root mean square: such
    features cannot be made to agree by shrinking them (the trivial minimum of L_MD over aligners
    alone: affine maps of 0 and equal biases).

    A layer has one scale, not one per channel: a channel that hardly varies would have an unbounded
    gradient. In training mode mean and scale are those of the batch, with their gradient; else
    those of the last such batch, so that a batch may hold one class only, or one image.

    Args:
        mask_LT: tokens that the member has, bool.
        channels: number of channels, D.

    Attributes:
        mean_LTD: mean over the images of the last batch in training mode.
        scale_L: root mean square over images, tokens and channels of that batch.
        entries_L: numbers of an image in each layer, without tokens that the member lacks.
    """

    mean_LTD: Tensor
    scale_L: Tensor
    entries_L: Tensor

    def __init__(self, mask_LT: Tensor, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean_LTD", torch.zeros(*mask_LT.shape, channels))
        self.register_buffer("scale_L", torch.ones(len(mask_LT)))
        # In float64 until the aligner gets its format: the numbers are whole.
        self.register_buffer("entries_L", mask_LT.sum(dim=1).double() * channels, persistent=False)

    def forward(self, features_BLTD: Tensor) -> Tensor:
        """Standardised features, of the same shape; tokens that the member lacks stay 0."""
        if not self.training:
            return (features_BLTD - self.mean_LTD) / self.scale_L[:, None, None]
        mean_LTD = features_BLTD.mean(dim=0)
        centred_BLTD = features_BLTD - mean_LTD
        # Means over the tokens that the member has: those that it lacks are 0 and add nothing to
        # the sums.
        entries_L = self.entries_L.to(features_BLTD.dtype) * len(features_BLTD)
        variance_L, square_L = (part.square().sum(dim=(0, 2, 3)) / entries_L for part in (centred_BLTD, features_BLTD))
        scale_L = (variance_L + SMALLEST_DEVIATION**2 * square_L + SMALLEST_SQUARE).sqrt()
        self.mean_LTD, self.scale_L = mean_LTD.detach(), scale_L.detach()
        return centred_BLTD / scale_L[:, None, None]


class Aligner(nn.Module):
    """Brings one member's features to the common size: an affine map per tap, and a mixture of more
    than L taps.

    Args:
        taps: the member's taps.
        size: common size of the members drawn.
        resize: ``adaptive`` shrinks maps by averaging; ``bilinear`` (HMDC) samples them with
            corners aligned, which to size 1 takes the corner pixel. No map is smaller than the
            common size.
        standardise: bring features to mean 0 over images and each layer to mean square 1, see
            :class:`Standard`.
    """

    has_spatial_S: Tensor

    def __init__(self, taps: Sequence[Tap], size: CommonSize, resize: Resize, standardise: bool = False) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.size = size
        self.resize = resize
        self.affine = nn.ModuleList(nn.Linear(tap.channels, size.channels) for tap in taps)
        self.mixing = nn.Parameter(torch.zeros(size.layers, len(taps))) if len(taps) > size.layers else None
        self.has_spatial = any(tap.kind != "vector" for tap in taps)
        self.register_buffer("has_spatial_S", torch.tensor([tap.kind != "vector" for tap in taps]), persistent=False)
        self.standard = Standard(token_mask(taps, size), size.channels) if standardise else nn.Identity()

    def weights(self, spatial: bool) -> Tensor:
        """Rows of the layer mixture over the S source taps, (L, S), each summing to 1.

        Args:
            spatial: whether the weights are those of spatial tokens, to which only taps that have
                them contribute.
        """
        assert self.mixing is not None
        scores: Tensor = self.mixing
        if spatial:
            scores = scores.masked_fill(~self.has_spatial_S, float("-inf"))
        return scores.softmax(dim=1)  # over source taps: each layer is a convex combination of them (HMDC section 3.2)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Align a batch's features to (B, L, T, D), in the number format of the aligner's weights.

        Tokens that the member lacks are 0 (see :func:`token_mask`).

        Args:
            features: one feature per tap: maps (B, c, h, w), tokens (B, 1 + h * w, c) or vectors
                (B, c).
        """
        # S source taps; spatial parts have T - 1 tokens, the one missing is the semantic one.
        parts = [self._align(*row) for row in zip(features, self.taps, self.affine, strict=True)]
        semantic_BSD = torch.stack([semantic for semantic, _ in parts], dim=1)
        spatial_BSTD = torch.stack([self._tokens(semantic, spatial) for semantic, spatial in parts], dim=1)
        if self.mixing is not None:
            semantic_BSD = torch.einsum("ls,bsd->bld", self.weights(spatial=False), semantic_BSD)
            if self.has_spatial:  # else every row of the softmax would be NaN
                spatial_BSTD = torch.einsum("ls,bstd->bltd", self.weights(spatial=True), spatial_BSTD)
            else:
                spatial_BSTD = spatial_BSTD[:, : self.size.layers]
        aligned_BLTD = torch.cat([semantic_BSD[:, :, None], spatial_BSTD], dim=2)
        standard_BLTD: Tensor = self.standard(aligned_BLTD)
        return standard_BLTD

    def _align(self, feature: Tensor, tap: Tap, affine: nn.Module) -> tuple[Tensor, Tensor | None]:
        """One tap's semantic part (B, D) and spatial part (B, T - 1, D), None for a vector, by one
        affine map for both."""
        dtype, side = next(affine.parameters()).dtype, self._side(feature) if tap.kind == "map" else 0
        if side:
            # Pool first, then map, then take the mean for the semantic part: one pass over the
            # large map only. It is the same because the mean of the squares' means is the map's
            # mean, and a mean commutes with an affine map.
            pooled_Bchw = average_pool(feature, side) if side > 1 else feature
            tokens_BTD = affine(pooled_Bchw.to(dtype).flatten(2).transpose(1, 2))
            return tokens_BTD.mean(dim=1), tokens_BTD
        semantic_Bc, spatial_Bchw = decompose(feature.to(dtype), tap)
        if spatial_Bchw is None:
            return affine(semantic_Bc), None
        return affine(semantic_Bc), affine(self._resized(spatial_Bchw).flatten(2).transpose(1, 2))

    def _side(self, map_Bchw: Tensor) -> int:
        """Side of the squares that cover a map and become its tokens by averaging; 0 if there are
        none."""
        height, width = map_Bchw.shape[-2:]
        side = width // self.size.width
        covered = (height, width) == (side * self.size.height, side * self.size.width)
        return side if covered and self.resize == "adaptive" else 0

    def _resized(self, spatial_Bchw: Tensor) -> Tensor:
        """The spatial part in the common height and width, (B, c, height, width)."""
        target = (self.size.height, self.size.width)
        if spatial_Bchw.shape[-2:] == target:
            return spatial_Bchw
        if self.resize == "adaptive":
            return F.adaptive_avg_pool2d(spatial_Bchw, target)
        return F.interpolate(spatial_Bchw, size=target, mode="bilinear", align_corners=True)

    def _tokens(self, semantic_BD: Tensor, spatial_BTD: Tensor | None) -> Tensor:
        """The spatial part (B, T - 1, D); zeros for a vector, which has none."""
        if spatial_BTD is not None:
            return spatial_BTD
        return semantic_BD.new_zeros(len(semantic_BD), self.size.tokens - 1, self.size.channels)
