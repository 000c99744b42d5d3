"""A perceptron with two hidden layers (as in the code of DC, arXiv 2006.05929)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hmdc_ray.models.layers import Width
from hmdc_ray.models.network import Architecture, TapSpec
from hmdc_ray.models.registry import register
from hmdc_ray.models.shape import ImageShape


@register("mlp", "two hidden layers of 'width' units, linear; taps: both hidden vectors")
def mlp(shape: ImageShape, classes: int, *, width: Width = 128) -> Architecture:
    """Build an MLP; at 10 classes and 3x32x32 the default has 411,146 parameters.

    Args:
        shape: images of any size.
        classes: number of logits.
        width: number of units of either hidden layer.
    """
    hidden = nn.Sequential(
        nn.Sequential(nn.Linear(shape.values, width), nn.ReLU()),
        nn.Sequential(nn.Linear(width, width), nn.ReLU()),
    )
    module = nn.Sequential(OrderedDict(flatten=nn.Flatten(), hidden=hidden, classifier=nn.Linear(width, classes)))
    return Architecture(module, (TapSpec("hidden.0", "vector"), TapSpec("hidden.1", "vector")))
