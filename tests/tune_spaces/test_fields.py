import pytest
from bases import BASES

from hmdc_ray.errors import InputError
from tune_spaces import loss_weights, optimisation
from tune_spaces.fields import member_path, near, replace, together

POOL = BASES["pool"]


def test_members_go_by_name_or_by_position_where_the_name_cannot_be_in_a_path() -> None:
    assert member_path(POOL, 0) == f"pool.members.{POOL.pool.members[0].name}"
    odd = BASES["odd names"]
    assert [member_path(odd, index, "loss_weight") for index in (0, 1)] == [f"pool.members.{n}.loss_weight" for n in (0, 1)]


def test_values_are_replaced_together_and_checked() -> None:
    made = replace(POOL, {"images.ipc": 3, "matching.metric": "l1"})
    assert (made.images.ipc, made.matching.metric, made.schedule) == (3, "l1", POOL.schedule)
    with pytest.raises(InputError, match=r"images\.ipc is -1"):
        replace(POOL, {"images.ipc": -1})


def test_a_range_around_a_value_has_a_largest() -> None:
    assert near(2.0, 5.0, 100.0) == (0.4, 10.0) and near(2.0, 5.0, 7.0) == (0.4, 7.0)


def test_spaces_together_have_the_domains_of_each_and_apply_them_all() -> None:
    space, apply = together(loss_weights, optimisation)
    assert list(space(POOL)) == [*loss_weights.space(POOL), *optimisation.space(POOL)]
    sample = {path: domain.sample(random_state=1) for path, domain in space(POOL).items()}
    assert apply(POOL, sample) == optimisation.apply(loss_weights.apply(POOL, sample), sample)
