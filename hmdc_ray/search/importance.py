"""How much each parameter of a search matters for the accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ray.tune.search.sample import Domain

from hmdc_ray.search.records import TrialRecord
from hmdc_ray.search.settings import FIDELITIES

FEWEST = 4
"""Smallest number of trials from which an importance is computed."""


def comparable_fidelity(trials: Sequence[TrialRecord]) -> int | None:
    """The highest rung that at least half of the trials, and at least :data:`FEWEST`, have reached;
    None where there is none.

    Accuracies of different rungs are not comparable: those at the end are of the few trials that
    were not stopped.
    """
    for fidelity in reversed(FIDELITIES):
        reached = sum(trial.at(fidelity) is not None for trial in trials)
        if reached >= max(FEWEST, len(trials) / 2):
            return fidelity
    return None


def parameter_importance(trials: Sequence[TrialRecord], domains: Mapping[str, Domain]) -> dict[str, float]:
    """Importance of every parameter by PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv 2304.10255),
    largest first.

    Args:
        trials: trials of the search, compared by their accuracies at :func:`comparable_fidelity`.
        domains: Ray Tune domains of the space by dotted path.

    Returns:
        Importances by path, at least 0, with sum 1; empty where too few trials are comparable.
    """
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    fidelity = comparable_fidelity(trials)
    if fidelity is None:
        return {}
    distributions = OptunaSearch.convert_search_space(dict(domains))
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # or it tells of a new study
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        rung = trial.at(fidelity)
        if rung is not None:
            sample = dict(trial.sample)
            study.add_trial(optuna.trial.create_trial(params=sample, distributions=distributions, value=rung.accuracy))
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
