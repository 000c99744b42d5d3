"""What proposes configurations, and what stops bad trials early."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator

from hmdc_ray.search.settings import ETA, FIDELITIES, WHOLE, SearchSettings
from hmdc_ray.search.trial import COST, FIDELITY, OBJECTIVE

STARTUP_TRIALS = 10
"""Trials that Optuna draws at random before it models anything, at most a third of all."""


def searcher(settings: SearchSettings, seed: int, concurrent: int) -> Searcher | SearchAlgorithm:
    """What proposes the configurations of a search.

    Args:
        settings: settings of the search.
        seed: seed of its draws.
        concurrent: number of trials at a time.
    """
    seed %= 2**32  # as much as NumPy's old generators take
    if settings.search == "random":
        return BasicVariantGenerator(max_concurrent=concurrent, random_state=seed)
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=max(1, min(STARTUP_TRIALS, settings.trials // 3)),
        constant_liar=concurrent > 1,  # so that trials at the same time are not alike
    )
    metric: Any = [OBJECTIVE, COST] if settings.multi_objective else OBJECTIVE
    mode: Any = ["max", "min"] if settings.multi_objective else "max"
    return ConcurrencyLimiter(OptunaSearch(metric=metric, mode=mode, sampler=sampler), max_concurrent=concurrent)


def scheduler(settings: SearchSettings) -> TrialScheduler:
    """What stops trials at their rungs (ASHA, Li et al., MLSys 2020, arXiv 1810.05934).

    HyperBand is the asynchronous form: ASHA with one bracket per rung, which starts to stop trials
    there. The synchronous form would have to keep a whole bracket of trials waiting where only some
    can run at a time.
    """
    if settings.scheduler == "none":
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr=FIDELITY,
        metric=OBJECTIVE,
        mode="max",
        max_t=WHOLE,
        reduction_factor=ETA,
        brackets=len(FIDELITIES) if settings.scheduler == "hyperband" else 1,
        stop_last_trials=False,
    )
