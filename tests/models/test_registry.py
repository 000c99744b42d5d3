from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape, build, register, registered
from hmdc_ray.seeding import Key

SHAPE = ImageShape(1, 8, 8)
KEY = Key(0, "network")

USER_MODULE = """
from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from hmdc_ray.models import Architecture, TapSpec

if TYPE_CHECKING:
    from somewhere import Something

CONSTANT = 3


def tapped(shape, classes, *, units: int = 4, sizes: tuple[int, int] = (1, 2)):
    hidden = nn.Linear(shape.channels * shape.height * shape.width, units)
    return Architecture(nn.Sequential(nn.Flatten(), hidden, nn.Linear(units, classes)), (TapSpec("1", "vector"),))


def bare(shape, classes, bias=True, **others):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes, bias=bias))


def unresolved(shape, classes, bias: bool = True) -> Something:
    return bare(shape, classes, bias)


def needy(shape, classes, units):
    return bare(shape, classes)


def wrong(shape, classes):
    return 7


def keyword_only(*, shape, classes):
    return bare(shape, classes)
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's in the working directory, which is not yet on the import path."""
    (tmp_path / "my_networks.py").write_text(USER_MODULE)
    (tmp_path / "needs_missing.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "misspelt.py").write_text("def :\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    yield "my_networks"
    for name in ("my_networks", "needs_missing", "misspelt"):
        sys.modules.pop(name, None)


def refusal(architecture: str, options: dict[str, Any], shape: ImageShape = SHAPE) -> str:
    with pytest.raises(InputError) as caught:
        build(architecture, options, shape, 5, KEY)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"architecture {architecture!r}: ")
    return str(caught.value)


def test_a_users_factory_with_taps(user_module: str) -> None:
    network = build(f"{user_module}:tapped", {"units": 6, "sizes": [3, 4]}, SHAPE, 5, KEY)
    assert [(tap.module, tap.kind, tap.channels) for tap in network.taps] == [("1", "vector", 6)]
    again = build(f"{user_module}:tapped", {"units": 6}, SHAPE, 5, KEY)
    pairs = zip(network.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_a_users_factory_of_a_bare_module(user_module: str) -> None:
    network = build(f"{user_module}:bare", {"bias": False, "anything": 1}, SHAPE, 5, KEY)
    observed = network.observe(torch.ones(2, 1, 8, 8))
    assert network.taps == observed.features == ()
    assert observed.embedding_BD.shape == (2, 64)
    assert sum(parameter.numel() for parameter in network.parameters()) == 5 * 64


def test_annotations_for_type_checkers_only_do_no_harm(user_module: str) -> None:
    assert build(f"{user_module}:unresolved", {"bias": False}, SHAPE, 5, KEY).classes == 5


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("my_networks:tappet", {}, "module 'my_networks' has no 'tappet': did you mean 'tapped'?"),
        ("my_networks:CONSTANT", {}, "is a int, must be a function (shape, classes, **options)"),
        ("my_networks:wrong", {}, "the factory returns a int, must return an Architecture or an nn.Module"),
        ("my_networks:keyword_only", {}, "does not take (shape, classes) as its first arguments"),
        ("my_networks:needy", {}, "option 'units' is missing: give it under 'options'"),
        ("my_networks:tapped", {"unit": 3}, "unknown option 'unit': did you mean 'units'?"),
        ("my_networks:tapped", {"units": "3"}, "option 'units' is '3': it should be a valid integer"),
        ("my_networks:tapped", {"units": {1}}, "option 'units' is {1}: it should be a plain value"),
        ("my_nets:tapped", {}, "module 'my_nets' cannot be imported (No module named 'my_nets')"),
        (
            "needs_missing:tapped",
            {},
            "module 'needs_missing' cannot be imported (No module named 'a_package_that_is_not_there')",
        ),
        ("misspelt:tapped", {}, "module 'misspelt' cannot be imported"),
        ("my_networks:", {}, "is not an import path: must be 'package.module:factory'"),
        (".my_networks:tapped", {}, "is not an import path"),
    ],
)
def test_refuses_import_paths_that_lead_nowhere(user_module: str, path: str, options: dict[str, Any], message: str) -> None:
    assert message in refusal(path, options)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("convnett", {}, "unknown, did you mean 'convnet'?"),
        ("transformer-xxl", {}, "unknown, known: alexnet, convnet, lenet, mlp, resnet18, vgg11, vit"),
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
    assert message in refusal(architecture, options)


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
