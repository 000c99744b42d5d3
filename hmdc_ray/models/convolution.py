"""Convolution whose second derivative computes no more than is asked for.

Torch's own second derivative of a convolution always computes the part that belongs to the kernels,
whether anybody wants it or not. Gradient matching does not: it takes the derivative with respect to
the images of a distance between gradients with respect to the kernels. With v, vw, vb the
directions of the gradients gx, gw, gb, and * the convolution,

    of gy: v * w + x * vw + vb,    of x: gx with vw for w,    of w: gw with v for x.

With few channels, as images have, the convolution in bfloat16 is a product of matrices, which torch
differentiates without such waste, and which on CPUs is faster than its convolutions, which are made
for many channels.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW_CHANNELS = 4
"""Most channels that are taken for those of images."""

Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
"""Stride, padding, dilation, whether transposed, output padding, groups, as torch's operators take
them."""


class Convolution(nn.Conv2d):
    """``nn.Conv2d``, differentiable twice.

    It is ``nn.Conv2d`` itself where it pads other than with zeros, and for anything but batches.
    Within torch's autocast it works in autocast's number format, as ``nn.Conv2d`` does. In bfloat16
    on CPUs it is a product of matrices for at most :data:`FEW_CHANNELS` channels if that takes no
    more memory. Not in float32, where the output would be rounded otherwise than torch's: one
    activation that changes sides for it may change the gradients of images by more than 1e-4.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, out_channels, H', W') of images or maps (B, in_channels, H, W)."""
        if isinstance(self.padding, str) or self.padding_mode != "zeros" or input.ndim != 4:
            return super().forward(input)
        weight, bias, device, images = self.weight, self.bias, input.device.type, input
        if torch.is_autocast_enabled(device) and input.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(device)
            input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        few = self.in_channels <= FEW_CHANNELS and self.groups == 1
        if few and device == "cpu" and weight.dtype == torch.bfloat16 and self._is_small(weight[0].numel(), input):
            return self.as_product(images, weight, bias)
        geometry = list(self.stride), list(self.padding), list(self.dilation), False, [0, 0], self.groups
        output: Tensor = _Convolve.apply(input, weight, bias, geometry)
        return output

    def as_product(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The kernels times what they see of the images (B, C, H, W) at every pixel, in the format
        of the weights."""
        kernels = weight.flatten(1) if bias is None else torch.cat([weight.flatten(1), bias[:, None]], dim=1)
        seen = self._seen(images, weight.dtype, with_bias=bias is not None)
        # A batch of the same kernels: where one matrix is multiplied by a batch, torch transposes
        # the batch and copies it.
        product = torch.bmm(kernels.expand(len(seen), -1, -1), seen)
        return product.view(len(images), len(weight), *self._sides(images))

    def _seen(self, images: Tensor, dtype: torch.dtype, with_bias: bool) -> Tensor:
        """What a kernel sees at every pixel, (B, weights, pixels), and with a bias a row of ones,
        which it is multiplied by."""
        assert not isinstance(self.padding, str)
        if images.requires_grad:  # stay in their own format, in which their gradient is summed over overlapping kernels
            seen = F.unfold(images, self.kernel_size, self.dilation, self.padding, self.stride).to(dtype)
            return F.pad(seen, (0, 0, 0, 1), value=1.0) if with_bias else seen
        height, width = self.padding
        views = F.pad(images.to(dtype), (width, width, height, height))
        for dim, size, gap, step in zip((2, 3), self.kernel_size, self.dilation, self.stride, strict=True):
            views = views.unfold(dim, gap * (size - 1) + 1, step)[..., ::gap]
        views = views.permute(0, 1, 4, 5, 2, 3)  # one copy, several times as fast as torch's unfold and pad
        weights, pixels = math.prod(views.shape[1:4]), math.prod(views.shape[4:])
        seen = views.new_empty(len(images), weights + with_bias, pixels)
        seen[:, :weights].view(views.shape).copy_(views)
        seen[:, weights:] = 1
        return seen

    def _is_small(self, weights: int, images: Tensor) -> bool:
        """Whether what kernels of ``weights`` weights see, and their gradient for an image, fit
        into the output."""
        return weights <= self.out_channels and weights < math.prod(self._sides(images))

    def _sides(self, images: Tensor) -> list[int]:
        """Height and width of the output."""
        assert not isinstance(self.padding, str)
        sides = zip(images.shape[2:], self.kernel_size, self.padding, self.dilation, self.stride, strict=True)
        return [(side + 2 * pad - gap * (size - 1) - 1) // step + 1 for side, size, pad, gap, step in sides]


class _Convolve(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        output: Tensor = torch.ops.aten.convolution(x, weight, bias, *geometry)
        return output

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        return *_Gradients.apply(gy, *ctx.saved_tensors, ctx.geometry, _wanted(ctx)), None


class _Gradients(Function):
    """gx, gw, gb as a function of gy, x and w; those that nobody needs are None."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: list[bool]) -> Any:
        ctx.save_for_backward(gy, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return torch.ops.aten.convolution_backward(gy, x, weight, [len(weight)], *geometry, needed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor | None, vw: Tensor | None, vb: Tensor | None) -> Any:
        """Derivatives of <v, gx> + <vw, gw> + <vb, gb> with respect to gy, x and w; None for what
        nobody asks for."""
        gy, x, weight = ctx.saved_tensors
        geometry = ctx.geometry
        wanted = _wanted(ctx)
        of_gy = of_x = of_w = None
        if wanted[0]:
            parts = []
            if vw is not None:
                parts.append(torch.ops.aten.convolution(x, vw, vb, *geometry))
            elif vb is not None:
                parts.append(vb[:, None, None].expand_as(gy))
            if v is not None:
                parts.append(torch.ops.aten.convolution(v, weight, None, *geometry))
            of_gy = sum(parts[1:], start=parts[0]) if parts else None
        if wanted[1] and vw is not None:
            of_x = torch.ops.aten.convolution_backward(gy, x, vw, None, *geometry, [True, False, False])[0]
        if wanted[2] and v is not None:
            of_w = torch.ops.aten.convolution_backward(gy, v, weight, None, *geometry, [False, True, False])[1]
        return of_gy, of_x, of_w, None, None


def _wanted(ctx: Any) -> list[bool]:
    """Which of the three tensors' gradients are used by the derivative that is being taken; never
    that of a missing bias."""
    found = [node is not None and _is_wanted(node) for node, _ in ctx.next_functions]
    return [*found, *[False] * (3 - len(found))]


def _is_wanted(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except (RuntimeError, AttributeError):  # a leaf that the derivative is taken with respect to; another version of torch
        return True
