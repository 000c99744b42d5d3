"""The tables of formats."""

from __future__ import annotations

from hmdc_ray.interchange.catalogue import EXPORTS, MEANINGS


def test_the_tables_agree() -> None:
    assert set(EXPORTS) <= set(MEANINGS)
