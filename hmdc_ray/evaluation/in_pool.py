"""Whether a student was among the networks that condensed images were learned with."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from hmdc_ray.config import MemberConfig, StudentConfig
from hmdc_ray.models import registered


def in_pool(student: StudentConfig, pool: Collection[MemberConfig]) -> bool:
    """Whether a member is this very network: the same architecture with the same options, defaults
    filled in.

    An architecture with other options, say another depth, is another network, so a student that
    shares nothing but its architecture's name with a member is not in the pool. A member with
    random options is every network that it can become. Defaults of networks that are not registered
    are unknown: their options must be written alike.
    """
    return any(member.architecture == student.architecture and _fits(student, member) for member in pool)


def _fits(student: StudentConfig, member: MemberConfig) -> bool:
    entry = registered().get(student.architecture)
    defaults = dict(entry.options) if entry else {}
    ours, theirs = {**defaults, **student.options}, {**defaults, **member.options}
    random = {name: [_plain(value) for value in values] for name, values in member.random_options.items()}
    fixed = (ours.keys() | theirs.keys()) - random.keys()
    missing = object()
    return all(_plain(ours.get(name)) in values for name, values in random.items()) and all(
        _plain(ours.get(name, missing)) == _plain(theirs.get(name, missing)) for name in fixed
    )


def _plain(value: Any) -> str:
    """A form in which a list equals the tuple that it stands for."""
    return json.dumps(value, default=repr, sort_keys=True)
