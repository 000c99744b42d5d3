"""The pool's members, and whether they can be drawn."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hmdc_ray.config import PoolConfig


def test_main_is_found_by_name() -> None:
    assert PoolConfig.model_validate({"members": ["vit", "mlp"], "main": "mlp"}).main_index == 1
    assert PoolConfig.model_validate({"members": ["vit", "mlp"]}).main_index == 0


@pytest.mark.parametrize(
    ("probabilities", "fields", "message"),
    [
        ((0.5, 0.4), {}, "probabilities sum to 0.9: must be 1"),
        ((1.0, 0.0), {"active": 2}, "active is 2, but only 1 of 2 members have a probability above 0"),
        ((1.0, 0.0), {}, "active is 2, but only 1 of 2 members"),
        ((None, None), {"active": 3}, "active is 3, but only 2 of 2 members"),
        ((0.5, None), {}, "member 'm1' has no probability, but others have"),
    ],
)
def test_a_pool_that_cannot_be_drawn_from_is_refused(
    probabilities: tuple[float | None, ...], fields: dict[str, Any], message: str
) -> None:
    members = [{"name": f"m{index}", "architecture": "mlp", "probability": value} for index, value in enumerate(probabilities)]
    with pytest.raises(ValidationError, match=message):
        PoolConfig.model_validate({"members": members, **fields})
