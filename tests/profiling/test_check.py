from hmdc_ray.config.io import apply_overrides
from hmdc_ray.config.presets import preset
from hmdc_ray.profiling.check import Checked, repeated


def test_members_of_a_pool_repeat_in_turn_all_drawn() -> None:
    names = ("convnet", "vit", "lenet")
    chances = [f"pool.members.{name}.probability={chance}" for name, chance in zip(names, (0.5, 0.25, 0.25), strict=True)]
    base = apply_overrides(preset("digits"), ["pool.active=1", *chances])
    pool = repeated(base, len(names) + 1, 2).pool
    assert [member.name for member in pool.members] == [*(f"{name}_0" for name in names), f"{names[0]}_1"]
    assert {(member.replicas, member.probability) for member in pool.members} == {(2, None)}
    assert (pool.active, pool.warmup, pool.main) == (None, 0, f"{names[0]}_0")
    assert pool.members[-1].options == base.pool.members[0].options


def test_a_step_takes_the_median() -> None:
    assert Checked((1.0, 9.0, 2.0), {}, 0).seconds_per_step == 2.0
