"""Trials of an evaluation as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path

import numpy as np
import ray
import torch

from hmdc_ray.actors.session import POLL_SECONDS, Ref, fetch, import_from, largest_node, remote
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.evaluation.baselines import Baseline, baseline_rows
from hmdc_ray.evaluation.plan import Trial, baseline_kinds, plan, run_trial
from hmdc_ray.evaluation.report import Evaluation, summarise


@lru_cache(maxsize=1)
def _dataset(config: str) -> ImageDataset:
    """The data, opened once per process; the key is the configuration as JSON, because it must be hashable."""
    return open_dataset(DataConfig.model_validate_json(config))


def _rows(kind: Baseline, seed_index: int, condensed: CondensedSet, config: RunConfig) -> np.ndarray:
    return baseline_rows(kind, seed_index, condensed, _dataset(config.data.model_dump_json()), config.seed)


def _trial(trial: Trial, condensed: CondensedSet, config: RunConfig, rows: np.ndarray | None, folder: str) -> float:
    import_from(folder)
    dataset = _dataset(config.data.model_dump_json())
    device = "cuda" if config.evaluation.num_gpus > 0 and torch.cuda.is_available() else "cpu"
    return run_trial(
        trial, condensed, dataset, config.evaluation, config.seed, config.cluster.threads, rows=rows, device=device
    )


def evaluate_on_ray(
    condensed: CondensedSet,
    config: RunConfig,
    *,
    pool: Collection[str] | None,
    progress: Callable[[int, int], None],
    check: Callable[[], None],
) -> Evaluation:
    """Train and test all students of ``config.evaluation``, as many at a time as the cluster has CPUs (or GPUs) for.

    Args:
        condensed: the images to judge.
        config: the data, the evaluation, the seed and the threads.
        pool: architectures that the images were learned with; None when unknown.
        progress: called with the number of trials done and of all.
        check: called while waiting; may raise to stop.

    Raises:
        InputError: images and data do not fit together.
    """
    info = open_dataset(config.data).info
    resources = {
        "num_cpus": min(config.cluster.threads, largest_node("CPU")),
        "num_gpus": config.evaluation.num_gpus,
        "max_retries": 3,
    }
    stored = ray.put(condensed)
    rows_task, trial_task = (remote(function).options(**resources) for function in (_rows, _trial))
    rows: dict[tuple[str, int], Ref] = {
        (kind, seed): rows_task.remote(kind, seed, stored, config)
        for kind in baseline_kinds(config.evaluation)
        for seed in range(config.evaluation.seeds)
    }
    trials = plan(config.evaluation)
    folder = str(Path.cwd())
    calls = [trial_task.remote(trial, stored, config, rows.get((trial.kind, trial.seed_index)), folder) for trial in trials]
    progress(0, len(calls))
    pending = list(calls)
    try:
        while pending:
            done, pending = ray.wait(pending, num_returns=1, timeout=POLL_SECONDS)
            fetch(done)
            check()
            if done:
                progress(len(calls) - len(pending), len(calls))
    finally:
        for call in pending:  # what is left when the evaluation stops early
            ray.cancel(call, force=True)
    results = fetch(calls)
    return summarise(config.evaluation, trials, results, condensed=condensed, info=info, run_seed=config.seed, pool=pool)
