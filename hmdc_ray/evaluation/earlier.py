"""An evaluation written earlier, whose failed trials are to be repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.outcome import Failure, Outcome
from hmdc_ray.evaluation.report import Evaluation, TrialOutcome
from hmdc_ray.evaluation.temperature import Group, group, is_distilled
from hmdc_ray.evaluation.trial import Trial

_SAME = ("protocol", "split", "epochs", "seeds", "run_seed", "recipe", "distillation", "data_fingerprint", "gpu_format")
_SAME_OF_ROWS = ("architecture", "options", "weights", "learning_rate")
"""Fields in which the file and the evaluation asked for must agree."""

_OUTCOMES = TypeAdapter(tuple[TrialOutcome, ...])


@dataclass(frozen=True)
class Earlier:
    """An evaluation's file.

    Attributes:
        path: path of the file.
        content: content of the file, as JSON gives it.
        trials: outcome of every student's training.
    """

    path: Path
    content: dict[str, Any]
    trials: tuple[TrialOutcome, ...]

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """Read a file of :meth:`hmdc_ray.evaluation.report.Evaluation.write`.

        Raises:
            InputError: there is no such file, or it lacks the outcome of every student's training.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            trials = _OUTCOMES.validate_python(content["trials"])
        except FileNotFoundError as error:
            raise InputError(f"{path} is not there: give an evaluation that is to be completed") from error
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise InputError(
                f"{path} does not say which students failed ({type(error).__name__}): must be an evaluation of this version, "
                "evaluate again without --failed"
            ) from error
        return cls(path, content, trials)

    @property
    def failed(self) -> tuple[TrialOutcome, ...]:
        """The trials without an accuracy."""
        return tuple(trial for trial in self.trials if trial.accuracy is None)

    def reusable(
        self, planned: Sequence[Trial], evaluation_of: Callable[[Sequence[Trial], Sequence[Outcome]], Evaluation]
    ) -> tuple[dict[int, float], dict[Group, float]]:
        """The results to reuse: accuracies by position among the planned trials, and temperatures
        by group.

        Args:
            planned: trials of the evaluation to complete.
            evaluation_of: function that makes an evaluation of trials and their outcomes.

        Raises:
            InputError: the file is of another evaluation; names the difference.
        """
        ours = json.loads(evaluation_of(planned, [Failure("")] * len(planned)).to_json())
        for name, theirs, wanted in self._compared(ours):
            if theirs != wanted:
                raise InputError(
                    f"{self.path} is another evaluation: its {name} is {theirs!r}, must be {wanted!r}: give the images and "
                    "options that it was made with"
                )
        known, chosen = {}, {}
        for position, (trial, found) in enumerate(zip(planned, self.trials, strict=True)):
            if found.accuracy is not None:
                known[position] = found.accuracy
            if found.temperature is not None and is_distilled(trial):
                chosen[group(trial)] = found.temperature
        return known, chosen

    def _compared(self, ours: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        """Name, value in the file, and value in the evaluation to complete."""
        theirs = self.content
        pairs = [(name, theirs.get(name), ours[name]) for name in _SAME]
        for entry, fields in (("rows", _SAME_OF_ROWS), ("sets", ("fingerprint",))):
            pairs.append((entry, _fields(theirs.get(entry), fields), _fields(ours[entry], fields)))
        places = [_places(trials) for trials in (self.trials, _OUTCOMES.validate_python(ours["trials"]))]
        return [*pairs, ("list of trials", places[0], places[1])]


def _places(trials: Sequence[TrialOutcome]) -> Any:
    return [(each.student, each.images, each.set_index, each.switched, each.seed_index) for each in trials]


def _fields(entries: Any, names: Sequence[str]) -> Any:
    try:
        return [{name: entry[name] for name in names} for entry in entries]
    except (TypeError, KeyError):
        return None
