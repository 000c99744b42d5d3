from bases import BASES, four_members

from hmdc_ray.config.presets import preset
from tune_spaces import loss_weights


def test_every_member_has_a_weight_and_mutual_distillation_where_it_is_on() -> None:
    weights = [path for path in loss_weights.space(four_members()) if path.endswith("weight")]
    members = [f"pool.members.{name}.loss_weight" for name in ("convnet", "lenet", "mlp", "alexnet")]
    assert weights == [*members, "balance.distillation_weight"]
    assert "balance.distillation_weight" not in loss_weights.space(preset("dc"))


def test_a_draw_sets_weights_and_balance() -> None:
    base = BASES["digits"]
    sample = dict.fromkeys(loss_weights.space(base), 0.25) | {"balance.mode": "max", "balance.period": 5}
    made = loss_weights.apply(base, sample)
    assert {member.loss_weight for member in made.pool.members} == {0.25}
    assert (made.balance.mode, made.balance.period, made.balance.distillation_weight) == ("max", 5, 0.25)
