"""Accuracies on real images, kept from one evaluation to the next: they do not depend on the
condensed ones."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, NetworkSection, RunConfig
from hmdc_ray.data.cache import cache_folder
from hmdc_ray.data.schema import DatasetInfo, Split
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.device import on_gpus, student_format, student_threads
from hmdc_ray.evaluation.images import per_stored
from hmdc_ray.evaluation.trial import Trial, trial_recipe
from hmdc_ray.models import registered
from hmdc_ray.models.external import LIBRARIES
from hmdc_ray.system.files import write_atomically

FOLDER = "baselines"
LAYOUT = 6
"""Version of the keys, raised when the same key comes to mean another training."""

_logger = logging.getLogger(__name__)


class BaselineCache:
    """A folder of small JSON files, one for each accuracy, named by a hash of everything that the
    accuracy depends on.

    Args:
        config: the run; the files are in the folder ``baselines`` of its ``data.cache``.
        condensed: set that real images are compared with.
        info: description of the real data.
    """

    def __init__(self, config: RunConfig, condensed: CondensedSet, info: DatasetInfo) -> None:
        self._folder = cache_folder(config.data.cache) / FOLDER
        self._config = config
        self._condensed = condensed
        self._info = info

    def get(self, trial: Trial, split: Split) -> float | None:
        """The accuracy in [0, 1] of a trial on a split; None when unknown. A damaged file is
        ignored with a warning."""
        key = self._key(trial, split)
        path = self._path(key)
        if key is None or not path.exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            known, accuracy = record["key"], record["accuracy"]
        except (OSError, ValueError, KeyError, TypeError):
            known = accuracy = None
        if known != key or not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
            _logger.warning("%s is damaged, its student is trained again", path)
            return None
        return accuracy

    def put(self, trial: Trial, split: Split, accuracy: float) -> None:
        """Keep an accuracy where it can be reused; a file that cannot be written causes only a
        warning."""
        key = self._key(trial, split)
        if key is None:
            return
        try:
            write_atomically(self._path(key), json.dumps({"key": key, "accuracy": accuracy}, indent=1) + "\n")
        except InputError as error:
            _logger.warning("an accuracy on real images is not kept: %s", error)

    def _path(self, key: dict[str, Any] | None) -> Path:
        text = json.dumps(key, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def _key(self, trial: Trial, split: Split) -> dict[str, Any] | None:
        """Everything that the accuracy depends on, as JSON gives it back; None when unknown, or for
        condensed images."""
        evaluation = self._config.evaluation
        networks = [_network(trial.student)]
        if trial.temperature is not None:
            assert evaluation.distillation is not None
            networks.append(_network(evaluation.distillation.teacher))
        stored = trial.kind == "whole_data" and evaluation.whole_data is not None  # without training, so not worth keeping
        if trial.kind == "condensed" or stored or None in networks:
            return None
        key = {
            "layout": LAYOUT,
            "data": self._info.fingerprint,
            "split": split,
            "mean": self._condensed.mean,
            "std": self._condensed.std,
            "kind": trial.kind.removesuffix("_count"),
            "counts": None if trial.kind == "whole_data" else self._counts(trial),
            "recipe": asdict(trial_recipe(trial, evaluation)),
            "networks": networks,
            "distillation": None if trial.temperature is None else _distillation(evaluation, trial),
            "seed": [self._config.seed, trial.seed_index],
            "threads": student_threads(self._config),
            "device": "cuda" if on_gpus(self._config) else "cpu",
            "gpu_format": student_format(self._config),
            "versions": {name: version(name) for name in ("hmdc-ray", "torch")},
        }
        plain: dict[str, Any] = json.loads(json.dumps(key))
        return plain

    def _counts(self, trial: Trial) -> list[int]:
        counts: list[int] = (self._condensed.class_counts() * per_stored(trial.kind, self._condensed)).tolist()
        return counts


def _network(section: NetworkSection) -> dict[str, Any] | None:
    """Everything that determines a network; None for the user's own code, which may change
    unnoticed."""
    library = section.architecture.partition(":")[0]
    if library not in LIBRARIES and section.architecture not in registered():
        return None
    origin = section.weights
    if section.checkpoint is not None:
        file = Path(section.checkpoint).expanduser()
        if not file.is_file():  # the trial raises the clearer error
            return None
        origin = f"checkpoint {hashlib.sha256(file.read_bytes()).hexdigest()}"
    return {
        "architecture": section.architecture,
        "options": section.options,
        "weights": origin,
        "statistics": section.statistics,
        "library": version(library) if library in LIBRARIES else None,
    }


def _distillation(config: EvaluationConfig, trial: Trial) -> dict[str, Any]:
    assert config.distillation is not None
    rate = config.distillation.teacher.learning_rate
    return {"alpha": config.distillation.alpha, "temperature": trial.temperature, "teacher_rate": rate}
