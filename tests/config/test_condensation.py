"""What the sections of the condensation refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hmdc_ray.config import MatchingConfig


@pytest.mark.parametrize("value", [0, 1, -5])
def test_aligners_that_nothing_trains_are_refused(value: int) -> None:
    with pytest.raises(ValidationError, match=f"aligner_images is {value}: must be at least 2 .*random projections"):
        MatchingConfig(mutual_distillation=True, aligner_images=value)
