"""What a pool goes back to when a process is lost, and what is known of its members' health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hmdc_ray.exchange.messages import State

HEALTH = "health"
"""Name of the health among the states of a checkpoint."""

_ABSENT = "absent/"
_BAD_STEPS = "bad_steps/"


@dataclass(frozen=True)
class Health:
    """Which members have left the pool, and how many steps each had with a gradient that was not finite.

    Attributes:
        absent: names of members that have left.
        bad_steps: number of such steps by name, where there were any.
    """

    absent: frozenset[str] = frozenset()
    bad_steps: Mapping[str, int] = field(default_factory=dict)

    def without(self, *names: str) -> Health:
        """As it is when members have left the pool too."""
        return Health(self.absent | set(names), self.bad_steps)

    def with_bad_step(self, name: str) -> Health:
        """As it is after one more bad step of a member."""
        return Health(self.absent, {**self.bad_steps, name: self.bad_steps.get(name, 0) + 1})

    def state(self) -> State:
        """For a checkpoint."""
        absent = {f"{_ABSENT}{name}": 1 for name in sorted(self.absent)}
        return State({}, absent | {f"{_BAD_STEPS}{name}": steps for name, steps in self.bad_steps.items()})

    @classmethod
    def restored(cls, state: State) -> Health:
        """From a checkpoint."""
        absent = {name.removeprefix(_ABSENT) for name in state.values if name.startswith(_ABSENT)}
        bad = {name.removeprefix(_BAD_STEPS): value for name, value in state.values.items() if name.startswith(_BAD_STEPS)}
        return cls(frozenset(absent), bad)


@dataclass(frozen=True)
class Cut:
    """A consistent state of the pool: server and members drawn after the same number of steps.

    The states lie outside the processes that they describe, as references; the driver does not hold them.

    Attributes:
        version: image steps done.
        server: reference to the server's state.
        members: references to states by position in the pool; none at an iteration's start, where members are fresh.
        health: of the members.
    """

    version: int
    server: Any
    members: Mapping[int, Any]
    health: Health

    @property
    def references(self) -> Sequence[Any]:
        """All of them."""
        return [self.server, *self.members.values()]


@dataclass(frozen=True)
class Healed:
    """What became of the processes after a fault.

    Attributes:
        restarted: names of those replaced: members, and ``server``.
        lost: by position, members that could not be started again, now or at a fault before, with the reason.
    """

    restarted: tuple[str, ...]
    lost: Mapping[int, str]
