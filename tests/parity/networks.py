"""A user's networks that are different in training and in evaluation; used by their import
paths."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hmdc_ray.models import Architecture, ImageShape, TapSpec


def with_dropout(shape: ImageShape, classes: int) -> Architecture:
    """One hidden vector, of which dropout hides half while training."""
    hidden = nn.Sequential(nn.Linear(shape.channels * shape.height * shape.width, 6), nn.Tanh(), nn.Dropout(0.5))
    module = nn.Sequential(OrderedDict(flatten=nn.Flatten(), hidden=hidden, classifier=nn.Linear(6, classes)))
    return Architecture(module, (TapSpec("hidden", "vector"),))


def one_pixel(shape: ImageShape, classes: int) -> Architecture:
    """BatchNorm on maps of one pixel, which a single image cannot train."""
    body = nn.Sequential(nn.Conv2d(shape.channels, 6, (shape.height, shape.width)), nn.BatchNorm2d(6), nn.Tanh())
    module = nn.Sequential(OrderedDict(body=body, flatten=nn.Flatten(), classifier=nn.Linear(6, classes)))
    return Architecture(module, (TapSpec("flatten", "vector"),))
