"""The state to which a pool returns when a process is lost, and the health of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hmdc_ray.exchange.messages import State

HEALTH = "health"
"""Owner of the members' health among the states of a checkpoint."""

_ABSENT = "absent/"
_BAD_STEPS = "bad_steps/"


@dataclass(frozen=True)
class Health:
    """Which members have left the pool, and in how many steps each had a gradient that was not
    finite.

    Attributes:
        absent: names of members that have left.
        bad_steps: number of steps with a gradient that was not finite, by name; no entry for 0.
    """

    absent: frozenset[str] = frozenset()
    bad_steps: Mapping[str, int] = field(default_factory=dict)

    def without(self, *names: str) -> Health:
        """The health after these members have left the pool too."""
        return Health(self.absent | set(names), self.bad_steps)

    def with_bad_step(self, name: str) -> Health:
        """The health after one more bad step of a member."""
        return Health(self.absent, {**self.bad_steps, name: self.bad_steps.get(name, 0) + 1})

    def state(self) -> State:
        """The health as a state of a checkpoint."""
        absent = {f"{_ABSENT}{name}": 1 for name in sorted(self.absent)}
        return State({}, absent | {f"{_BAD_STEPS}{name}": steps for name, steps in self.bad_steps.items()})

    @classmethod
    def restored(cls, state: State) -> Health:
        """The health from a state of a checkpoint."""
        absent = {name.removeprefix(_ABSENT) for name in state.values if name.startswith(_ABSENT)}
        bad = {name.removeprefix(_BAD_STEPS): value for name, value in state.values.items() if name.startswith(_BAD_STEPS)}
        return cls(frozenset(absent), bad)


@dataclass(frozen=True)
class Cut:
    """A consistent state of the pool: server and members drawn after the same number of steps.

    The states are stored outside the processes that they describe; the driver has references to
    them only.

    Attributes:
        version: number of image steps done.
        server: reference to the server's state.
        members: references to members' states by position in the pool; empty where an iteration
            starts, all fresh.
        health: health of the members.
    """

    version: int
    server: Any
    members: Mapping[int, Any]
    health: Health

    @property
    def references(self) -> Sequence[Any]:
        """References to all states."""
        return [self.server, *self.members.values()]


@dataclass(frozen=True)
class Healed:
    """What became of the processes after a fault.

    Attributes:
        restarted: names of replaced processes: members, and ``server``.
        lost: reasons why members could not be started again, now or at an earlier fault, by
            position in the pool.
    """

    restarted: tuple[str, ...]
    lost: Mapping[int, str]
