"""The temperature of a distillation: the given one, or the best on validation data for each student
and kind of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hmdc_ray.config import EvaluationConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.images import Kind
from hmdc_ray.evaluation.outcome import Failure, Outcome
from hmdc_ray.evaluation.trial import Trial

Group = tuple[int, Kind, int]
"""Students that share a temperature: position in the configuration, images, and number of the
condensed set."""


def candidates(config: EvaluationConfig, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that a choice of temperature needs, once with each temperature; none where there
    is nothing to choose."""
    if config.distillation is None or len(config.distillation.temperatures) == 1:
        return []
    return [
        replace(trial, temperature=temperature)
        for trial in trials
        if is_distilled(trial)
        for temperature in config.distillation.temperatures
    ]


def require_validation(config: EvaluationConfig, info: DatasetInfo) -> None:
    """Refuse a choice of temperatures without validation data.

    Raises:
        InputError: there are several temperatures, but no validation images.
    """
    if config.distillation is not None and len(config.distillation.temperatures) > 1 and not info.sizes["validation"]:
        raise InputError(
            f"evaluation.distillation.temperatures is {list(config.distillation.temperatures)}, to be chosen on validation "
            f"images, but data {info.source!r} has none: give one temperature, or set a larger data.validation_fraction"
        )


def undecided(tried: Sequence[Trial], outcomes: Sequence[Outcome]) -> dict[Group, Failure]:
    """Groups whose temperature cannot be chosen, with the first reason: a mean over fewer students
    would be another choice."""
    found: dict[Group, Failure] = {}
    for trial, outcome in zip(tried, outcomes, strict=True):
        if isinstance(outcome, Failure):
            found.setdefault(group(trial), outcome)
    return found


def with_temperatures(
    config: EvaluationConfig,
    trials: Sequence[Trial],
    tried: Sequence[Trial],
    outcomes: Sequence[Outcome],
    chosen: Mapping[Group, float] = MappingProxyType({}),
) -> list[Trial]:
    """The trials with their temperatures: the given one, or the one of the highest mean accuracy
    over seeds.

    The choice is made for each student and kind of images, so that no kind gets the temperature
    that suits another. Of equal means the temperature listed first counts. A trial whose
    temperature is undecided has none.

    Args:
        config: configuration that the trials were planned from.
        trials: trials as planned.
        tried: trials from :func:`candidates`.
        outcomes: outcomes of the tried ones on validation data.
        chosen: temperatures chosen earlier, by group, for groups of which none was tried.
    """
    if config.distillation is None:
        return list(trials)
    listed = config.distillation.temperatures
    sums: dict[Group, dict[float, float]] = {}
    left_out = undecided(tried, outcomes)
    for trial, outcome in zip(tried, outcomes, strict=True):
        assert trial.temperature is not None
        if group(trial) not in left_out:
            assert not isinstance(outcome, Failure)
            sum_of = sums.setdefault(group(trial), dict.fromkeys(listed, 0.0))
            sum_of[trial.temperature] += outcome
    best = {**chosen, **{place: _best(sum_of) for place, sum_of in sums.items()}}
    return [
        replace(trial, temperature=best.get(group(trial), listed[0]))
        if is_distilled(trial) and group(trial) not in left_out
        else trial
        for trial in trials
    ]


def _best(sum_of: Mapping[float, float]) -> float:
    """The temperature of the highest sum, which is that of the highest mean, because all have as
    many seeds.

    Rounded, so that equal sums are equal whatever the order of their terms; max gives the first of
    these.
    """
    return max(sum_of, key=lambda temperature: round(sum_of[temperature], 9))


def is_distilled(trial: Trial) -> bool:
    """Whether the trial learns from a teacher where there is one: the bound by the whole data
    learns from labels alone."""
    return trial.kind != "whole_data"


def group(trial: Trial) -> Group:
    """The group of a trial."""
    return trial.member_index, trial.kind, trial.set_index
