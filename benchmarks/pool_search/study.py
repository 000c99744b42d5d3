"""The course of the study: search, give the uniform pool as many tries, then run both again on
fresh seeds and test data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import ray

from benchmarks.study.condensing import condense_once
from benchmarks.study.table import markdown_table, percent
from hmdc_ray.actors.session import fetch, ray_session, remote
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.config.io import apply_overrides, parse_config
from hmdc_ray.config.presets import preset
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.statistics import Summary, summarise_values
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.evaluate import evaluate
from hmdc_ray.run.validate import validate
from hmdc_ray.search.folder import SETTINGS_FILE
from hmdc_ray.search.judging import accuracies, mean_accuracy
from hmdc_ray.search.search import search
from hmdc_ray.search.settings import SearchSettings
from hmdc_ray.search.watch import SearchProgress
from hmdc_ray.system.files import write_atomically

SPACE = "benchmarks.pool_search.space"
FRESH = 1000
"""First of the seeds on which best and uniform are compared: none that the search has seen."""

SEARCHED, UNIFORM = "searched", "uniform"


def base_config(changes: Sequence[str], source: str | None = None) -> RunConfig:
    """The digits preset with a fourth member, two drawn for an iteration; equal probabilities, unit
    weights.

    Args:
        changes: further assignments ``section.field=value``.
        source: source of the images, a Parquet file or a folder of them; None: the built-in digits.

    Returns:
        The run, with absolute paths, since parts of it take place in other processes.

    Raises:
        InputError: an assignment is not valid.
    """
    digits = preset("digits")
    members = [member.model_dump() for member in digits.pool.members]
    members.append(MemberConfig(architecture="alexnet", options={"width": 32}).model_dump())
    config = parse_config(digits.model_dump() | {"name": "pool-search", "pool": {"members": members, "active": 2}}, "study")
    if source is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"source": source})})
    return with_absolute_paths(apply_overrides(config, changes))


class PoolSearchStudy:
    """Runs the study; results that are in the folder already are not computed again.

    Args:
        folder: folder for the search, condensed sets and results.
        settings: settings of the search.
        seeds: number of fresh seeds of each of the two pools.
        changes: further assignments ``section.field=value`` for all runs.
        progress: receiver of the events of the search.
        say: callback that gets lines on the rest.
        source: source of the images; None: the built-in digits.
    """

    def __init__(
        self,
        folder: Path,
        settings: SearchSettings,
        seeds: int,
        changes: Sequence[str],
        progress: SearchProgress,
        say: Callable[[str], None],
        source: str | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.settings = settings
        self.seeds = seeds
        self.base = base_config(changes, source)
        self.progress = progress
        self.say = say

    def run(self) -> None:
        """Run the whole study and write ``study.json`` and ``table.md``.

        Raises:
            InputError: the data cannot be used; nothing is started then.
        """
        validate(self.base, open_dataset(self.base.data).info)
        place = self.folder / "search"
        with ray_session():
            found = search(self.base, self.settings, place, resume=(place / SETTINGS_FILE).exists(), progress=self.progress)
            tries = self._accuracies(UNIFORM, self.base, range(self.settings.trials), "validation")
            fresh = range(FRESH, FRESH + self.seeds)
            on_test = {
                name: self._accuracies(name, config, fresh, "test")
                for name, config in ((SEARCHED, found.config), (UNIFORM, self.base))
            }
        uniform = summarise_values([_mean(accuracies) for accuracies in tries])
        record = {
            "searched_validation": found.best.last.accuracy,
            "uniform_validation": asdict(uniform) | {"highest": max(uniform.values)},
            "fresh_seeds": list(fresh),
            "test": on_test,
            "difference": {student: asdict(summary) for student, summary in _differences(on_test).items()},
        }
        write_atomically(self.folder / "study.json", json.dumps(record, indent=1) + "\n")
        write_atomically(self.folder / "table.md", _markdown(on_test, found.best.last.accuracy, uniform))

    def _accuracies(self, name: str, config: RunConfig, seeds: Sequence[int], split: str) -> list[dict[str, float]]:
        """Accuracy of every student on a set of every seed, which is that of the students too, as
        in a trial."""
        configs = [config.model_copy(update={"seed": seed}) for seed in seeds]
        task = remote(condense_once).options(num_cpus=1, max_retries=0)
        calls = [task.remote(each, self.folder / name / f"seed-{each.seed}") for each in configs]
        found = []
        for each, call in zip(configs, calls, strict=True):
            ray.wait([call])
            evaluation = self._judge(fetch([call])[0].condensed, each, split)
            found.append(accuracies(evaluation))
            self.say(f"{name}, seed {each.seed}: {100 * mean_accuracy(evaluation):.1f} % on {split} data")
        return found

    def _judge(self, condensed: CondensedSet, config: RunConfig, split: str) -> Evaluation:
        wanted = config.evaluation.model_copy(update={"split": split, "baselines": "none"})
        return evaluate(condensed, config.model_copy(update={"evaluation": wanted}))


def _mean(accuracies: Mapping[str, float]) -> float:
    return sum(accuracies.values()) / len(accuracies)


def _differences(on_test: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Summary]:
    """Searched - uniform, paired by seed, by student and for the mean over them."""
    pairs = list(zip(on_test[SEARCHED], on_test[UNIFORM], strict=True))
    found = {student: summarise_values([ours[student] - theirs[student] for ours, theirs in pairs]) for student in pairs[0][0]}
    return found | {"mean": summarise_values([_mean(ours) - _mean(theirs) for ours, theirs in pairs])}


def _markdown(on_test: Mapping[str, Sequence[Mapping[str, float]]], searched: float, uniform: Summary) -> str:
    """Accuracies on test data in %, mean ± half the 95 % interval over fresh seeds, and those on
    validation data before."""
    students = list(on_test[SEARCHED][0])
    rows = [["", *students, "mean"]]
    for name, sets in on_test.items():
        values = [[accuracies[student] for accuracies in sets] for student in students] + [[_mean(each) for each in sets]]
        rows.append([name, *map(percent, values)])
    rows.append(["difference, points", *(percent(summary.values) for summary in _differences(on_test).values())])
    before = (
        f"On validation data: {100 * searched:.1f} % for the best of the search; for the uniform pool "
        f"{100 * uniform.mean:.1f} % on average and {100 * max(uniform.values):.1f} % at best of {len(uniform.values)} seeds."
    )
    return f"{markdown_table(rows)}\n{before}\n"
