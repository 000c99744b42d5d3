"""Records of a search's trials as plain values, from which ``trials.json``, the table and the
figures are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hmdc_ray.system.files import write_atomically

State = Literal["finished", "stopped", "failed", "unfinished"]


@dataclass(frozen=True, slots=True)
class Axis:
    """How a parameter is drawn.

    Attributes:
        path: dotted path of the parameter.
        scale: ``linear``, ``log``, or ``choice``.
        choices: values of a choice; else empty.
    """

    path: str
    scale: Literal["linear", "log", "choice"]
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class RungRecord:
    """The result of a trial at a rung. Accuracies are fractions in [0, 1], on validation data.

    Attributes:
        version: image steps done.
        iterations: iterations done.
        fidelity: fidelity of the rung, one of :data:`hmdc_ray.search.settings.FIDELITIES`.
        accuracy: mean over the students, which the search maximises.
        worst: mean accuracy of the student with the lowest one.
        worst_architecture: name of that student; empty where there is a ``problem``.
        accuracies: mean accuracy by student.
        seconds: seconds of all image steps so far, the cost.
        problem: reason why the configuration is useless, such as a training that diverged; empty
            when there is none.
    """

    version: int
    iterations: int
    fidelity: int
    accuracy: float
    worst: float
    worst_architecture: str
    accuracies: dict[str, float]
    seconds: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: number of the trial, from 1, in the order of creation.
        name: name of the trial's folder.
        state: ``finished`` when it reached the last rung, ``stopped`` by the scheduler before,
            ``failed`` when it has a problem or its processes died too often, ``unfinished`` when
            the search ended before it.
        sample: drawn values by dotted path.
        probabilities: probability by member of the base's pool, 0 where a member is left out; empty
            where they are not drawn.
        rungs: results at the rungs, ascending.
        problem: problem of a failed trial; else empty.
    """

    number: int
    name: str
    state: State
    sample: dict[str, Any]
    probabilities: dict[str, float]
    rungs: tuple[RungRecord, ...]
    problem: str = ""

    @property
    def last(self) -> RungRecord:
        """The highest rung reached; there must be one."""
        return self.rungs[-1]

    def at(self, fidelity: int) -> RungRecord | None:
        """The result at a fidelity's rung, if it was reached without a problem."""
        return next((rung for rung in self.rungs if rung.fidelity == fidelity and not rung.problem), None)


def best_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The best accuracy among trials that reached the last rung, the earliest of equal ones; None
    where there is none."""
    finished = [trial for trial in trials if trial.state == "finished"]
    return max(finished, key=lambda trial: (trial.last.accuracy, -trial.number), default=None)


def front(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Finished trials that no other beats in both accuracy and seconds (Pareto front), by rising
    seconds."""
    found: list[TrialRecord] = []
    finished = [trial for trial in trials if trial.state == "finished"]
    for trial in sorted(finished, key=lambda trial: (trial.last.seconds, -trial.last.accuracy)):
        if not found or trial.last.accuracy > found[-1].last.accuracy:
            found.append(trial)
    return found


def write_trials(
    path: Path,
    trials: Sequence[TrialRecord],
    best: TrialRecord | None,
    settings: Mapping[str, Any],
    importance: Mapping[str, float],
) -> None:
    """Write ``trials.json`` atomically.

    Args:
        path: the file.
        trials: all trials, in order.
        best: trial given by :func:`best_of`.
        settings: settings of the search, as plain values.
        importance: importance of the parameters by path; empty when unknown.

    Raises:
        InputError: the file cannot be written.
    """
    record = {
        "schema_version": 1,
        "settings": dict(settings),
        "objective": "mean accuracy over the evaluation's students on validation data",
        "best": None if best is None else best.number,
        "front": [trial.number for trial in front(trials)],
        "importance": dict(importance),
        "trials": [asdict(trial) for trial in trials],
    }
    write_atomically(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
