"""What a search is asked to do, and the rungs at which its trials are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from hmdc_ray.config import ScheduleConfig
from hmdc_ray.errors import InputError, closest

Scheduler = Literal["asha", "hyperband", "none"]
Algorithm = Literal["optuna", "random"]

ETA = 3
"""About one in ETA trials continues after a rung, and the next rung lies at ETA times the
iterations."""

FIDELITIES = (1, ETA, ETA * ETA)
"""Fidelities of the rungs, in the scheduler's unit of time; the last is a whole run."""

WHOLE = FIDELITIES[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """All settings of a search except the base configuration.

    Attributes:
        space: name of a space or import path, see :mod:`tune_spaces`.
        trials: number of configurations to try, at least 1.
        scheduler: algorithm that stops bad trials early: ``asha`` from the first rung on,
            ``hyperband`` some trials from later rungs on, or ``none``.
        search: algorithm that proposes configurations: ``optuna`` (TPE) or ``random``.
        concurrent: number of trials at a time, at least 1; None: as many as the cluster has room
            and CPUs for.
        multi_objective: whether to optimise accuracy and seconds instead of accuracy alone; needs
            Optuna and no scheduler.
    """

    space: str
    trials: int = 20
    scheduler: Scheduler = "asha"
    search: Algorithm = "optuna"
    concurrent: int | None = None
    multi_objective: bool = False

    def check(self) -> None:
        """Refuse settings that do not exist or contradict each other.

        Raises:
            InputError: a setting is refused; names the option and its value.
        """
        for option, value, known in (
            ("--scheduler", self.scheduler, get_args(Scheduler)),
            ("--search", self.search, get_args(Algorithm)),
        ):
            if value not in known:
                raise InputError(f"{option} is {value!r}, which does not exist: {closest(value, known)}")
        for option, number in (("--trials", self.trials), ("--concurrent", self.concurrent)):
            if number is not None and number < 1:
                raise InputError(f"{option} is {number}: must be at least 1")
        if self.multi_objective and self.search != "optuna":
            raise InputError(f"--multi-objective needs --search optuna, but --search is {self.search!r}")
        if self.multi_objective and self.scheduler != "none":
            raise InputError(
                f"--multi-objective needs --scheduler none, but --scheduler is {self.scheduler!r}: the seconds of a trial "
                "that is stopped early say nothing of its configuration"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rung:
    """A point of a trial at which it is judged.

    Attributes:
        version: image version, the number of image steps before it.
        fidelity: fidelity of the rung, one of :data:`FIDELITIES`.
    """

    version: int
    fidelity: int


def rungs(schedule: ScheduleConfig) -> tuple[Rung, ...]:
    """The rungs of a run, ascending: its end, a third of its iterations, and so on, fewer where a
    run is short."""
    found: dict[int, Rung] = {}
    for fidelity in FIDELITIES:
        iterations = max(1, round(schedule.iterations * fidelity / WHOLE))
        version = iterations * schedule.steps
        found[version] = Rung(version, fidelity)  # of two rungs at the same step the higher one counts
    return tuple(found.values())
