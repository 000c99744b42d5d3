"""A user's network that is different in training and in evaluation; used by its import path."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hmdc_ray.models import Architecture, ImageShape, TapSpec


def with_dropout(shape: ImageShape, classes: int) -> Architecture:
    """One hidden vector, of which dropout hides half while training."""
    hidden = nn.Sequential(nn.Linear(shape.channels * shape.height * shape.width, 6), nn.Tanh(), nn.Dropout(0.5))
    module = nn.Sequential(OrderedDict(flatten=nn.Flatten(), hidden=hidden, classifier=nn.Linear(6, classes)))
    return Architecture(module, (TapSpec("hidden", "vector"),))
