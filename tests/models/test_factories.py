"""Factories of the user's own, found by import path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hmdc_ray.models import ImageShape
from models.networks import CLASSES, make, refusal

SHAPE = ImageShape(1, 8, 8)
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


def test_a_users_factory_with_taps(user_module: str) -> None:
    network = make(f"{user_module}:tapped", SHAPE, units=6, sizes=[3, 4])
    assert [(tap.module, tap.kind, tap.channels) for tap in network.taps] == [("1", "vector", 6)]
    again = make(f"{user_module}:tapped", SHAPE, units=6)
    pairs = zip(network.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_a_users_factory_of_a_bare_module(user_module: str) -> None:
    network = make(f"{user_module}:bare", SHAPE, bias=False, anything=1)
    observed = network.observe(torch.ones(2, 1, 8, 8))
    assert network.taps == observed.features == ()
    assert observed.embedding_BD.shape == (2, 64)
    assert sum(parameter.numel() for parameter in network.parameters()) == CLASSES * 64


def test_annotations_for_type_checkers_only_do_no_harm(user_module: str) -> None:
    assert make(f"{user_module}:unresolved", SHAPE, bias=False).classes == CLASSES


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
    assert message in refusal(path, SHAPE, **options)
