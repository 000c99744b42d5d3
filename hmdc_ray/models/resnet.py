"""ResNet for small images (as in the code of DC, arXiv 2006.05929): a 3x3 stem without pooling."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from hmdc_ray.models.layers import Norm, Width, make_norm
from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape

_RESNET18 = (2, 2, 2, 2)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: maps (B, channels, h, w) to (B, out_channels, h /
    stride, w / stride).

    Args:
        channels: number of channels of the input maps.
        out_channels: number of channels of the output maps.
        stride: stride of the first convolution: 1, or 2 to halve the maps.
        norm: kind of normalisation, as in :func:`hmdc_ray.models.layers.make_norm`.
        height: height of the output maps, in pixels.
        width: width of the output maps, in pixels.
    """

    def __init__(self, channels: int, out_channels: int, stride: int, norm: Norm, height: int, width: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False),
            make_norm(norm, out_channels, height, width),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            make_norm(norm, out_channels, height, width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False), make_norm(norm, out_channels, height, width)
            )

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """The activated sum of residual and shortcut, (B, out_channels, H / stride, W / stride)."""
        return F.relu(self.residual(maps_BCHW) + self.shortcut(maps_BCHW))


@register("resnet18", "3x3 stem, four stages of two basic blocks, global mean, linear; taps: the stages")
def resnet18(shape: ImageShape, classes: int, *, width: Width = 64, norm: Norm = "instance") -> Architecture:
    """Build a ResNet18; at 10 classes and 3x32x32 the default has 11,173,962 parameters.

    Args:
        shape: images of any size; with instance norm a side must be larger than 8 pixels.
        classes: number of logits.
        width: channels of the first stage; the stages after it have 2, 4 and 8 times as many.
        norm: kind of normalisation, as in :func:`hmdc_ray.models.layers.make_norm`.
    """
    height, width_pixels = shape.height, shape.width
    stem = nn.Sequential(
        nn.Conv2d(shape.channels, width, 3, padding=1, bias=False), make_norm(norm, width, height, width_pixels), nn.ReLU()
    )
    channels = width
    stages = nn.Sequential()
    for index, blocks in enumerate(_RESNET18):
        stage = nn.Sequential()
        for block in range(blocks):
            stride = 2 if index and block == 0 else 1
            height, width_pixels = -(-height // stride), -(-width_pixels // stride)
            stage.append(BasicBlock(channels, width * 2**index, stride, norm, height, width_pixels))
            channels = width * 2**index
        stages.append(stage)
    module = nn.Sequential(
        OrderedDict(
            stem=stem,
            stages=stages,
            mean=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(channels, classes),
        )
    )
    return Architecture(module, tuple(TapSpec(f"stages.{stage}", "map") for stage in range(len(_RESNET18))))
