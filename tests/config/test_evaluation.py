"""What the evaluation's fields refuse together."""

from __future__ import annotations

from typing import Any

import pytest

from hmdc_ray.config import EvaluationConfig


def test_a_robust_score_knows_which_recipe_is_plain() -> None:
    combinations: list[dict[str, Any]] = [{"baselines": "kmeans"}, {"baselines": "none"}, {"distillation": {}}]
    for wrong in combinations:
        with pytest.raises(ValueError, match="augmentation_robust"):
            EvaluationConfig.model_validate({"augmentation_robust": True, **wrong})


def test_students_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="two networks are called 'mlp'"):
        EvaluationConfig.model_validate({"students": ["mlp", "lenet", "mlp"]})
