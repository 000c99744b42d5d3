from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity.runs import gradients_message

from hmdc_ray.exchange.messages import Gradients
from hmdc_ray.profiling.targets import compare, targets


def test_gradients_of_a_target_over_chunks_and_members() -> None:
    def message(label: int, value: float) -> Gradients:
        return gradients_message((label,), np.full((1, 1), float(value)), np.full((1, 1), 10.0 * value))

    messages: dict[tuple[str, str], list[Any]] = {
        ("a", "match"): [(None, None, None), (None, None, None)],
        ("a", "pull_back"): [message(0, 1), message(1, 2)],
        ("b", "match"): [(message(0, 3), None, None), (message(1, 4), None, None)],  # as without mutual distillation
    }
    found = targets(messages)
    assert {name: array.ravel().tolist() for name, array in found.items()} == {
        "a": [1, 2],
        "b": [3, 4],
        "distillation": [10 + 30, 20 + 40],
    }
    turned = {**found, "a": np.array([[2.0], [-1.0]])}
    agreement = compare(turned, found)
    assert agreement["a"].cosine == pytest.approx(0)
    assert agreement["a"].error == pytest.approx(np.sqrt(2))
    assert agreement["b"].error == 0
    assert agreement["b"].cosine == pytest.approx(1)
