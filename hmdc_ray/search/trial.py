"""One trial as Ray Tune runs it: condense in rungs, judge on validation data, report with a
checkpoint."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from hmdc_ray.actors.session import import_from
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import METRICS_FILE
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import DeadEndError, DivergedError, InputError
from hmdc_ray.evaluation.device import student_device
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.validate import validate
from hmdc_ray.search.judging import accuracies, judge, mean_accuracy, worst
from hmdc_ray.search.records import RungRecord
from hmdc_ray.search.rung_run import run_in_rungs
from hmdc_ray.search.settings import WHOLE, rungs
from hmdc_ray.search.spaces import open_space
from hmdc_ray.search.without_test_split import WithoutTest
from hmdc_ray.system.files import append_json_line, read_json_lines

RECORDS_FILE = ".rungs.jsonl"
OBJECTIVE = "accuracy"
COST = "seconds"
FIDELITY = "fidelity"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialTask:
    """What all trials of a search have in common.

    Attributes:
        base: configuration that draws change.
        space: name of the space.
        folder: folder of the trials' folders, the same on every node.
        code_folder: folder in which modules of the user may be.
        parent: MLflow id of the search; None when nothing is tracked.
        concurrent: number of trials at a time.
    """

    base: RunConfig
    space: str
    folder: str
    code_folder: str
    parent: str | None
    concurrent: int

    def run(self, sample: Mapping[str, Any]) -> None:
        """Run one trial, within a Ray Tune session."""
        if Path(self.code_folder).is_dir():
            os.chdir(self.code_folder)  # Tune has moved this process into a folder of its own
        import_from(self.code_folder)
        name = Path(tune.get_context().get_trial_dir()).name
        _Trial(self, dict(sample), Path(self.folder) / name).run()


class _Trial:
    """A trial in its folder."""

    def __init__(self, task: TrialTask, sample: dict[str, Any], folder: Path) -> None:
        self._task = task
        self._sample = sample
        self._folder = folder
        self._reported = _take_over(folder)
        self._records = _read_records(folder)

    def run(self) -> None:
        """Run what the folder does not hold yet. Rungs that it holds are reported, not repeated."""
        try:
            config = with_absolute_paths(open_space(self._task.space, self._task.base).apply(self._sample))
            dataset = open_dataset(config.data)
            validate(config, dataset.info)
        except InputError as error:
            self._give_up(str(error))
            return
        self._config, self._dataset = config, WithoutTest(dataset)
        self._rungs = {rung.version: rung for rung in rungs(config.schedule)}
        for record in self._records[self._reported :]:
            self._send(record)
        judged = {record.version for record in self._records}
        waiting = [version for version in self._rungs if version not in judged]
        if not waiting or any(record.problem for record in self._records):
            return
        group = ray.util.get_current_placement_group()
        assert group is not None, "a trial has a placement group of its own"
        try:
            run_in_rungs(
                config,
                dataset.info,
                self._folder,
                waiting,
                self._judge,
                self._report,
                group=group,
                parent=self._task.parent,
                runs=self._task.concurrent,
            )
        except (DivergedError, DeadEndError) as error:  # nothing can be learned from the images
            self._give_up(str(error))

    def _judge(self, version: int, condensed: CondensedSet) -> dict[str, float]:
        config = self._config
        evaluation = judge(condensed, config, self._dataset, student_device(config))
        name, lowest = worst(evaluation)
        steps = [record for record in read_json_lines(self._folder / METRICS_FILE) if record["step"] <= version]
        self._judged = RungRecord(
            version=version,
            iterations=version // config.schedule.steps,
            fidelity=self._rungs[version].fidelity,
            accuracy=mean_accuracy(evaluation),
            worst=lowest,
            worst_architecture=name,
            accuracies=accuracies(evaluation),
            seconds=sum(record["seconds/step"] for record in steps),
        )
        return {f"validation/{name}": accuracy for name, accuracy in self._judged.accuracies.items()} | {
            "validation/mean": self._judged.accuracy,
            "validation/worst": lowest,
            "seconds/condensing": self._judged.seconds,
        }

    def _report(self) -> None:
        # Recorded only after it is tracked: if the process dies before, the rung is judged again,
        # and so tracked again.
        self._add(self._judged)
        self._send(self._judged)

    def _add(self, record: RungRecord) -> None:
        self._records.append(record)
        append_json_line(self._folder / RECORDS_FILE, asdict(record))

    def _send(self, record: RungRecord) -> None:
        self._reported += 1
        history = [asdict(known) for known in self._records[: self._reported]]
        metrics = {
            OBJECTIVE: record.accuracy,
            "worst": record.worst,
            COST: record.seconds,
            FIDELITY: record.fidelity,
            "rungs": json.dumps(history),
        }
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(str(self._folder)))

    def _give_up(self, problem: str) -> None:
        """End a trial whose configuration is useless, with the worst result there is: a retry would
        end the same way."""
        _logger.warning("a configuration is of no use: %s", problem)
        self._folder.mkdir(parents=True, exist_ok=True)
        last = self._records[-1] if self._records else None
        done = (last.version, last.iterations) if last else (0, 0)
        self._add(RungRecord(*done, WHOLE, 0.0, 0.0, "", {}, last.seconds if last else 0.0, problem))
        self._send(self._records[-1])


def _take_over(folder: Path) -> int:
    """Replace the folder by Tune's checkpoint where that holds more rungs; returns the number of
    rungs that Tune knows."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as saved:
        known = _read_records(Path(saved))
        if len(_read_records(folder)) < len(known):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(saved, folder)
    return len(known)


def _read_records(folder: Path) -> list[RungRecord]:
    return [RungRecord(**record) for record in read_json_lines(folder / RECORDS_FILE)]
