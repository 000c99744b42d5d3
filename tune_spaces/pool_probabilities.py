"""Probabilities of the members, a point on the simplex; also which members are in the pool,
``active`` and ``warmup``.

What the base configuration fixes is kept: ``pool.active`` is searched only if the base draws all
members, which leaves probabilities without effect, and ``pool.warmup`` only if the base names a
main member. The main member is always in the pool, and so are at least as many members as are
drawn. A member's probability in a sample is a coordinate of the simplex, see
:mod:`tune_spaces.simplex`; the last member has no coordinate and takes the rest.
"""

from __future__ import annotations

from ray import tune

from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.config.io import parse_config
from tune_spaces.fields import Sample, Space, member_path
from tune_spaces.simplex import dirichlet

MARGIN = 1e-3
"""Least distance of coordinates from 0 and 1, so that every member of the pool can be drawn."""


def space(base: RunConfig) -> Space:
    """A coordinate of the simplex for all members but the last, in or out for all but the main one,
    active, warmup."""
    pool = base.pool
    count = len(pool.members)
    domains: Space = {member_path(base, index, "probability"): tune.uniform(MARGIN, 1 - MARGIN) for index in range(count - 1)}
    if count > 1 and pool.active is None:
        domains["pool.active"] = tune.randint(1, count + 1)
    if count > (pool.active or 1):
        domains |= {member_path(base, index): tune.choice(["in", "out"]) for index in range(count) if index != pool.main_index}
    if pool.main is not None and base.schedule.iterations > 1:
        domains["pool.warmup"] = tune.randint(0, max(2, base.schedule.iterations // 2 + 1))
    return domains


def apply(base: RunConfig, sample: Sample) -> RunConfig:
    """The base with the pool of the draw."""
    pool = base.pool
    count = len(pool.members)
    if count == 1:
        probabilities: tuple[float, ...] = (1.0,)
    else:
        probabilities = dirichlet([sample[member_path(base, index, "probability")] for index in range(count - 1)])
    kept = _kept(base, sample, probabilities)
    total = sum(probabilities[index] for index in kept)
    active = sample.get("pool.active", pool.active)
    drawn = pool.model_dump() | {
        "members": [_with_probability(pool.members[index], probabilities[index] / total) for index in kept],
        "active": active if active is None else min(active, len(kept)),
        "main": pool.members[pool.main_index].name,
        "warmup": sample.get("pool.warmup", pool.warmup),
    }
    return parse_config(base.model_dump() | {"pool": drawn}, "space pool_probabilities")


def _kept(base: RunConfig, sample: Sample, probabilities: tuple[float, ...]) -> list[int]:
    """Positions of the members that stay: those that are in, and the likeliest others if more are
    to be drawn."""
    pool = base.pool
    places = range(len(pool.members))
    kept = {index for index in places if sample.get(member_path(base, index), "in") == "in"}
    for index in sorted(places, key=lambda index: -probabilities[index]):
        if len(kept) < (pool.active or 1):
            kept.add(index)
    return sorted(kept)


def _with_probability(member: MemberConfig, probability: float) -> dict[str, object]:
    return member.model_dump() | {"probability": probability}
