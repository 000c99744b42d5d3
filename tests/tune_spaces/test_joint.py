from bases import BASES

from tune_spaces import joint, loss_weights, optimisation, pool_probabilities


def test_it_moves_what_its_three_spaces_move() -> None:
    base = BASES["digits"]
    parts = (loss_weights, optimisation, pool_probabilities)
    assert set(joint.space(base)) == {path for part in parts for path in part.space(base)}
    sample = {path: domain.sample(random_state=2) for path, domain in joint.space(base).items()}
    left_out = f"pool.members.{base.pool.members[1].name}"
    assert left_out in sample
    made = joint.apply(base, sample | {left_out: "out"})  # its weight and rate are set before it leaves
    assert made.images.learning_rate == sample["images.learning_rate"] and len(made.pool.members) < len(base.pool.members)
