"""Instance norm whose second derivative is cheap: gradient matching differentiates twice through
every norm layer.

With x^ = r (x - mu) the input normalised over the pixels of a channel of an image, and <.> the mean
over these pixels, the layer and its gradients are

    y = w x^ + b,    gx = r w (gy - <gy> - x^ <gy x^>),    gw = sum gy x^,    gb = sum gy.

Torch takes the derivative of gx as some thirty operations on whole maps. By hand it is a linear
combination of the direction, gy and x, whose coefficients need five means per channel and image.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_PARAMETERS = {torch.float32: torch.float32, torch.float64: torch.float64, torch.bfloat16: torch.float32}
"""Format of weight and bias by that of the maps."""


class InstanceNorm(nn.GroupNorm):
    """``nn.GroupNorm`` with as many groups as channels and affine weights, differentiable twice.

    It is ``nn.GroupNorm`` itself for number formats other than float32, float64 and, on the CPU,
    bfloat16 with float32 weights, without a bias, and for anything but images. Means are taken in
    the weights' format. On other devices than the CPU torch's autocast brings maps into the
    weights' format first, as it does for ``nn.GroupNorm`` there. (Not yet measured on a GPU.)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised maps of maps, both (B, C, H, W)."""
        device, images = input.device.type, input.ndim == 4 and input.numel() > 0
        if device != "cpu" and torch.is_autocast_enabled(device):
            input = input.to(self.weight.dtype)
        formats = (input.dtype if device != "cpu" else _PARAMETERS.get(input.dtype)) == self.weight.dtype
        if not images or self.bias is None or not formats or input.dtype not in _PARAMETERS:
            return super().forward(input)
        output: Tensor = _Normalise.apply(input, self.weight, self.bias, self.eps)
        return output


class _Normalise(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        sizes = x.shape[0], x.shape[1], x[0, 0].numel(), x.shape[1]
        y, mean_BC, rate_BC = torch.native_group_norm(x.contiguous(), weight, bias, *sizes, eps)
        ctx.save_for_backward(x, weight, mean_BC, rate_BC)  # x itself: the graph leads to it, and not to a copy
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        return *_Gradients.apply(gy, *ctx.saved_tensors), None


class _Gradients(Function):
    """gx, gw, gb as a function of gy, x and w."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, weight: Tensor, mean_BC: Tensor, rate_BC: Tensor) -> Any:
        ctx.save_for_backward(gy, x, weight, mean_BC, rate_BC)
        sizes = x.shape[0], x.shape[1], x[0, 0].numel(), x.shape[1]
        arrays = gy.contiguous(), x.contiguous(), mean_BC, rate_BC, weight
        return torch.ops.aten.native_group_norm_backward(*arrays, *sizes, [True, True, True])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, vw: Tensor, vb: Tensor) -> Any:
        """Derivatives of <v, gx> + <vw, gw> + <vb, gb> with respect to gy, x and w."""
        gy, x, weight, mean_BC, rate_BC = ctx.saved_tensors
        v, gy, x = v.contiguous(), gy.contiguous(), x.contiguous()
        w, vw, vb = (vector.view(1, -1, 1, 1) for vector in (weight, vw, vb))
        mu, r = mean_BC[:, :, None, None], rate_BC[:, :, None, None]
        gy_1, gy_x = _means(gy, x, mean_BC, rate_BC)
        v_1, v_x = _means(v, x, mean_BC, rate_BC)
        _, v_gy = _means(v, gy, torch.zeros_like(mean_BC), torch.ones_like(rate_BC))
        # x enters by r, where <v, gx> = w r |pixels| k, and by x^, with respect to which the
        # derivative is h = a v + b gy.
        k = v_gy - v_1 * gy_1 - v_x * gy_x
        a, b = -r * w * gy_x, vw - r * w * v_x
        c = -r * (r * w * k + a * v_x + b * gy_x)  # of x^ = r x - r mu
        # In the format of the maps first, so that what the constants take away is what the maps
        # add.
        of_gy_v, of_gy_x = (r * w).to(v), (b * r).to(v)
        of_gy = _combination(vb - of_gy_v * v_1 - of_gy_x * mu, (v, of_gy_v), (x, of_gy_x))
        of_x_v, of_x_gy, of_x_x = (r * a).to(v), (r * b).to(v), (c * r).to(v)
        of_x = _combination(-of_x_v * v_1 - of_x_gy * gy_1 - of_x_x * mu, (v, of_x_v), (gy, of_x_gy), (x, of_x_x))
        of_w = (r * k).sum(dim=(0, 2, 3)) * x[0, 0].numel()
        return of_gy, of_x, of_w, None, None


def _combination(constant: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of maps (B, C, H, W), each times a coefficient (B, C, 1, 1), and of a constant, in
    the format of the maps."""
    (first, coefficient), *others = terms
    # One operation for each: torch is slow where both coefficient and constant of one have a single
    # value for a map.
    total = first * coefficient
    for maps, coefficient in others:
        total.addcmul_(maps, coefficient)
    return total.add_(constant.to(total))


def _means(g: Tensor, x: Tensor, mean_BC: Tensor, rate_BC: Tensor) -> tuple[Tensor, Tensor]:
    """<g> and <g x^> of every channel of every image, (B, C, 1, 1), in one pass over g and x.

    They are what group norm's own backward gives as gradients of weight and bias, when every map is
    a channel of its own.
    """
    maps, pixels = mean_BC.numel(), x[0, 0].numel()
    as_one = [tensor.reshape(1, maps, *x.shape[2:]) for tensor in (g, x)]
    statistics = [tensor.reshape(1, maps) for tensor in (mean_BC, rate_BC)]
    weight = torch.ones_like(mean_BC).view(-1)  # its format is that of the means
    sizes = 1, maps, pixels, maps
    _, g_x, g_1 = torch.ops.aten.native_group_norm_backward(*as_one, *statistics, weight, *sizes, [False, True, True])
    return (g_1 / pixels).view(*mean_BC.shape, 1, 1), (g_x / pixels).view(*mean_BC.shape, 1, 1)
