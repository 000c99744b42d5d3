"""How long an evaluation of the preset ``digits`` takes with students that are trained together,
against one by one.

    python -m benchmarks.evaluation --pairs 3

Both are Ray tasks on this machine, in turn, after a short evaluation that starts the processes. The
images are the mean of every class; nothing is reused.
"""

from __future__ import annotations

import argparse
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from hmdc_ray.actors.evaluation import evaluate_on_ray
from hmdc_ray.actors.session import ray_session
from hmdc_ray.cli.console import console
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.config.presets import preset
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.evaluation import grouping
from hmdc_ray.evaluation.report import Evaluation

MODES = {"together": grouping.MOST_WORK, "one by one": 0}
"""Most work of a group, by mode."""


def class_means(config: RunConfig) -> CondensedSet:
    """The mean training image of every class."""
    data = open_dataset(config.data)
    info = data.info
    labels = range(len(info.class_names))
    means = [data.normalised("train", data.class_rows("train", label)).mean(dim=0) for label in labels]
    return CondensedSet(torch.stack(means), torch.arange(len(means)), info.class_names, info.mean, info.std)


def timed(condensed: CondensedSet, config: RunConfig, mode: str) -> tuple[float, Evaluation]:
    """Seconds of an evaluation, and its result."""
    grouping.MOST_WORK = MODES[mode]
    with TemporaryDirectory() as cache:
        fresh = config.model_copy(update={"data": config.data.model_copy(update={"cache": cache})})
        start = perf_counter()
        made = evaluate_on_ray(condensed, fresh, pool=None, progress=lambda done, total: None, check=lambda: None)
        return perf_counter() - start, made


def main() -> None:
    """Measure, and print seconds, their ratio and the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="evaluations in each mode")
    pairs: int = parser.parse_args().pairs
    config = preset("digits")
    condensed = class_means(config)
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    results: dict[str, Evaluation] = {}
    with ray_session("local"):
        timed(
            condensed, config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"epochs": 1})}), "together"
        )
        for _ in range(pairs):
            for mode in MODES:
                taken, results[mode] = timed(condensed, config, mode)
                seconds[mode].append(taken)
                console.print(f"{mode:>10}  {taken:6.1f} s", highlight=False)
    middle = {mode: median(values) for mode, values in seconds.items()}
    console.print(f"medians: together {middle['together']:.1f} s, one by one {middle['one by one']:.1f} s", highlight=False)
    console.print(f"ratio: {middle['one by one'] / middle['together']:.2f}", highlight=False)
    console.print("mean accuracies (condensed, random, k-means), together | one by one", highlight=False)
    for rows in zip(*(results[mode].rows for mode in MODES), strict=True):
        shown = [[f"{100 * each.mean:5.1f}" for each in (row.condensed, row.random, row.kmeans) if each] for row in rows]
        console.print(f"{rows[0].architecture:>10}  " + "  |  ".join(" ".join(numbers) for numbers in shown), highlight=False)


if __name__ == "__main__":
    main()
