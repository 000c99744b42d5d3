from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from hmdc_ray.models import ImageShape, register, registered
from models.networks import refusal


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("convnett", {}, "unknown, did you mean 'convnet'?"),
        ("transformer-xxl", {}, f"unknown, known: {', '.join(registered())}"),
        ("convnet", {"dept": 2}, "unknown option 'dept': did you mean 'depth'?"),
        ("lenet", {"width": 2}, "unknown option 'width': there are no options"),
        ("convnet", {"depth": 0}, "option 'depth' is 0: it should be greater than or equal to 1"),
        ("convnet", {"width": 2.5}, "option 'width' is 2.5: it should be a valid integer"),
        ("convnet", {"width": True}, "option 'width' is True: it should be a valid integer"),
        ("convnet", {"norm": "instanse"}, "option 'norm' is 'instanse': it should be 'instance', 'batch'"),
        ("alexnet", {"width": 7}, "option 'width' is 7: it should be a multiple of 2"),
        ("vit", {"heads": "four"}, "option 'heads' is 'four': it should be a valid integer"),
    ],
)
def test_refuses_unknown_names_and_bad_options(architecture: str, options: dict[str, Any], message: str) -> None:
    assert message in refusal(architecture, **options)


def test_entries_show_options_with_defaults() -> None:
    entry = registered()["convnet"]
    assert dict(entry.options) == {"width": 128, "depth": 3, "norm": "instance", "activation": "relu", "pooling": "avg"}
    assert all(known.description and "\n" not in known.description for known in registered().values())


def test_a_name_is_registered_once() -> None:
    def factory(shape: ImageShape, classes: int) -> nn.Module:
        return nn.Linear(shape.width, classes)

    with pytest.raises(ValueError, match="'mlp' is registered already"):
        register("mlp", "another")(factory)
    assert registered()["mlp"].factory is not factory
