"""Numbers of trials, which stay the same when a search is resumed, and the folder names made of
them."""

from __future__ import annotations

from ray.tune.experiment import Trial


def trial_number(trial: Trial) -> int:
    """Number of the trial, from 1, in the order in which trials were made.

    Ray Tune counts trials in their tags: from 1 those of a searcher, from 0 those of its own random
    search, whose ids end in the count too. The order in which it lists them changes when a search
    is resumed.
    """
    counted = int(trial.experiment_tag.partition("_")[0])
    return counted + ("_" in trial.trial_id)


def folder_name(trial: Trial) -> str:
    """Name of the trial's folder, such as ``0003-b2044eee``."""
    return f"{trial_number(trial):04d}-{trial.trial_id}"


def number_of(name: str) -> int:
    """The trial's number in a folder name made by :func:`folder_name`."""
    return int(name.partition("-")[0])
