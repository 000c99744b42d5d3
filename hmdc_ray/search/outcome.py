"""Records of a finished search, made from Ray Tune's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Result
from ray.tune.search.sample import Categorical, Domain, LogUniform

from hmdc_ray.condensed import CondensedSet, load_condensed
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.search.records import Axis, State, TrialRecord
from hmdc_ray.search.settings import WHOLE
from hmdc_ray.search.spaces import SearchSpace
from hmdc_ray.search.trial_names import number_of
from hmdc_ray.search.watch import last_line, rung_records

PROBABILITY = ".probability"


def trial_record(result: Result, space: SearchSpace) -> TrialRecord:
    """The record of a trial.

    Args:
        result: Ray Tune's result of the trial.
        space: space of the search.
    """
    name = Path(result.path).name
    rungs = rung_records(result.metrics or {})
    problem = rungs[-1].problem if rungs else ""
    state: State = "unfinished"
    if problem or result.error:
        state = "failed"
    elif rungs:
        state = "finished" if rungs[-1].fidelity == WHOLE else "stopped"
    sample = {path: (result.config or {})[path] for path in space.domains}
    return TrialRecord(
        number=number_of(name),
        name=name,
        state=state,
        sample=sample,
        probabilities={} if problem else _probabilities(space, sample),
        rungs=rungs,
        problem=problem or (last_line(result.error) if result.error else ""),
    )


def _probabilities(space: SearchSpace, sample: Mapping[str, Any]) -> dict[str, float]:
    """Probability of every member of the base's pool; empty where the space does not change
    them."""
    if not any(path.endswith(PROBABILITY) for path in space.domains):
        return {}
    try:
        pool = space.apply(sample).pool
    except InputError:
        return {}
    drawn = dict(zip((member.name for member in pool.members), pool.probabilities, strict=True))
    return {member.name: drawn.get(member.name, 0.0) for member in space.base.pool.members}


def axes_of(domains: Mapping[str, Domain]) -> list[Axis]:
    """The axis of each parameter of a space, in order."""
    axes = []
    for path, domain in domains.items():
        if isinstance(domain, Categorical):
            axes.append(Axis(path, "choice", tuple(domain.categories)))
        else:
            axes.append(Axis(path, "log" if isinstance(domain.get_sampler(), LogUniform) else "linear"))
    return axes


def images_of(results: Sequence[Result], trial: TrialRecord) -> CondensedSet:
    """The images that a finished trial learned.

    Raises:
        RunError: the trial's checkpoint is gone.
    """
    checkpoint = next(result for result in results if Path(result.path).name == trial.name).checkpoint
    if checkpoint is None:
        raise RunError(f"the checkpoint of trial {trial.number} is gone from the storage")
    with checkpoint.as_directory() as folder:
        return load_condensed(Path(folder))
