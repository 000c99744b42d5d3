"""Names of parameters in figures."""

from __future__ import annotations

from hmdc_ray.search.figures.parameters import label


def test_labels() -> None:
    assert label("pool.members.vit.probability") == "vit.probability (coordinate)"
    assert label("pool.members.vit") == "vit in or out"
    assert label("pool.active") == "active"
    assert label("images.learning_rate") == "images.learning_rate"
