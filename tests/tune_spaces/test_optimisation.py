import pytest
from bases import BASES

from tune_spaces import optimisation
from tune_spaces.fields import replace


def test_rates_are_searched_around_those_of_the_base() -> None:
    base = replace(BASES["hmdc"], {"images.learning_rate": 3000.0, "pool.members.vit.learning_rate": 0.05})
    space = optimisation.space(base)
    images, vit = space["images.learning_rate"], space["pool.members.vit.learning_rate"]
    assert (images.lower, images.upper) == (300.0, 1e4)  # not ten times as large: there is a largest
    assert (vit.lower, vit.upper) == pytest.approx((0.01, 0.25))
    assert len(space) == 3 + len(base.pool.members)


@pytest.mark.parametrize("change", [{"schedule.training": "none"}, {"schedule.steps": 1}], ids=str)
def test_members_that_are_not_trained_have_no_rate_to_search(change: dict[str, object]) -> None:
    space = optimisation.space(replace(BASES["hmdc"], change))
    assert list(space) == ["images.learning_rate", "matching.metric", "images.normalise"]
