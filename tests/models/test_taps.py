"""Taps have the size of the feature, which must be as it is declared."""

from __future__ import annotations

import pytest
import torch

from hmdc_ray.errors import InputError
from hmdc_ray.models.taps import Tap, TapSpec, evenly_spaced, resolve

TOKENS = torch.zeros(2, 17, 6)


def test_a_tap_has_the_size_of_its_feature() -> None:
    assert resolve(TapSpec("a", "map"), torch.zeros(2, 4, 8, 6), 2) == Tap("a", "map", 4, 8, 6)
    assert resolve(TapSpec("a", "tokens", (2, 8)), TOKENS, 2) == Tap("a", "tokens", 6, 2, 8)
    assert resolve(TapSpec("a", "vector"), torch.zeros(2, 5), 2) == Tap("a", "vector", 5, 0, 0)


@pytest.mark.parametrize(
    ("spec", "feature", "message"),
    [
        (TapSpec("a", "tokens", (4, 4)), torch.zeros(2, 256), "must return (B, 1 + tokens, channels)"),
        (TapSpec("a", "tokens", (3, 5)), TOKENS, "returns 16 tokens and a class token, its grid is (3, 5)"),
        (TapSpec("a", "tokens"), TOKENS, "its grid is None: must be (rows, columns)"),
        (TapSpec("a", "tokens", (-4, -4)), TOKENS, "its grid is (-4, -4)"),
        (TapSpec("a", "map"), TOKENS, "must return (B, channels, height, width)"),
        (TapSpec("a", "vector"), torch.zeros(3, 5), "returns (3, 5) for 2 images"),
        (TapSpec("a", "vector"), None, "is not called by the network"),
    ],
)
def test_features_that_are_not_as_declared_are_refused(spec: TapSpec, feature: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(spec, feature, 2)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_fewer_taps_are_evenly_spaced_and_the_last_is_among_them() -> None:
    assert evenly_spaced("abcdefg", 3) == ("b", "d", "g")
    assert evenly_spaced("abc", None) == ("a", "b", "c")
