"""One execution of a run in a claimed folder: steps, checkpoints, tracking, and the evaluation at
the end."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.nodes import find_resources, require_gpus
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.actors.session import ray_session
from hmdc_ray.condensed import CondensedSet, save_condensed
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import CONDENSED_FILE, CONFIG_FILE, EVALUATION_FILE, IMAGES_FILE, METRICS_FILE, dump_config
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import mark_resumable
from hmdc_ray.evaluation.images import KINDS
from hmdc_ray.evaluation.mnist import mnist_notes
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.exchange.call_size import call_size, with_call_size
from hmdc_ray.exchange.resources import Resources
from hmdc_ray.exchange.schedule import balance_notes, total_steps
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.figures.image_grid import grid_array, image_grid
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.run.evaluate import evaluate_in_session
from hmdc_ray.run.events import TROUBLE, EventLog, Kind, read_events, tags
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.progress import Progress
from hmdc_ray.run.tracking import open_tracking
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder, TolerantSaves
from hmdc_ray.system.files import LineLog, write_atomically
from hmdc_ray.system.signals import Interrupted, StopRequest
from hmdc_ray.tracking import Recorder


@dataclass(frozen=True)
class RunSummary:
    """What a finished run left behind.

    Attributes:
        folder: the run's folder.
        condensed: the condensed images.
        evaluation: accuracies of students trained on them and on as many real images, with the
            reasons for missing ones.
        tracking: instructions to open the run in MLflow; empty when it was not tracked.
    """

    folder: Path
    condensed: CondensedSet
    evaluation: Evaluation
    tracking: str


class Run:
    """One execution of ``condense`` in a claimed folder.

    Args:
        config: the run.
        info: description of its data.
        folder: its folder, claimed.
        resumed: image version to resume from, given by
            :func:`hmdc_ray.run.resume.resume_from`; None: a new run.
        progress: receiver of the run's progress.
        stop: request to stop, looked at between steps and while waiting.
        parent: MLflow id of the parent run; None: this one is no child.
        runs: number of runs at a time that share the memory of the nodes, this one included.
    """

    def __init__(
        self,
        config: RunConfig,
        info: DatasetInfo,
        folder: RunFolder,
        resumed: int | None,
        progress: Progress,
        stop: StopRequest,
        parent: str | None = None,
        runs: int = 1,
    ) -> None:
        self.config = config
        self.info = info
        self.folder = folder
        self.path = folder.path
        self.resumes = resumed is not None
        self.start = resumed or 0
        self.progress = progress
        self.stop = stop
        self.parent = parent
        self.runs = runs
        self.total = total_steps(config.schedule)
        self.checkpoints = CheckpointFolder.of_run(self.path, config.schedule)
        self.started = False
        self.tracking = Recorder()
        self.recorded = self.start
        self.events = EventLog(self.path)
        self.metrics = LineLog(self.path / METRICS_FILE)
        self.saves = TolerantSaves(config.schedule.checkpoint_failures)

    def execute(self, address: str | None) -> RunSummary:
        """Do the remaining steps, evaluate, and close the tracking run with the outcome."""
        with ExitStack() as stack:
            try:
                stack.enter_context(ray_session(address, self.progress.stage, self.stop.raise_if_requested))
                require_gpus(self.config.evaluation)
                condensed = self._condense()
                evaluation = self._evaluate(condensed)
            except Interrupted as stopped:
                self.tracking.finish("KILLED")
                stopped.resumable = self.resumes or self.started
                if self.started:
                    self._tell("stopped", self.recorded)
                raise
            except BaseException as error:
                self.tracking.finish("FAILED")
                if self.resumes or self.started:
                    mark_resumable(error)
                raise
            self._tell("finished", self.total)
            self.tracking.tags(tags(read_events(self.path)))
            self.tracking.artifacts(path for path in sorted(self.path.iterdir()) if not path.name.startswith("."))
            self.tracking.finish("FINISHED")
        self.progress.result(evaluation)
        return RunSummary(self.path, condensed, evaluation, self.tracking.location)

    # Parts

    def _condense(self) -> CondensedSet:
        if self.start == self.total:
            self._begin()
            images_KICHW = self.checkpoints.load(self.total)[SERVER].arrays["images"]
        else:
            self.progress.stage("starting the pool")
            resources = self._resources()
            with self._launch(resources) as pool:
                sized = self._sized(pool)
                self._begin(classes_per_call=sized.matching.classes_per_call, resources=resources.line)
                images_KICHW = self._run_steps(sized, pool)
        condensed = self._condensed_set(images_KICHW)
        self._save(condensed)
        return condensed

    def _launch(self, resources: Resources) -> AbstractContextManager[RayPool]:
        return launch(resources, self.info, self.path, self._check)

    def _resources(self) -> Resources:
        """What the run has on the cluster; its number of threads is the configuration's from here
        on."""
        resources = find_resources(self.config)
        self.config = resources.config
        self.progress.resources(resources.line)
        lines = [event.fields.get("resources") for event in read_events(self.path) if event.kind == "started"]
        if self.resumes and lines and lines[-1] not in (None, resources.line):
            self.progress.note(f"until now the run had {lines[-1]}")
        return resources

    def _save(self, condensed: CondensedSet) -> None:
        save_condensed(self.path / CONDENSED_FILE, condensed)
        image_grid(condensed, self.path / IMAGES_FILE)

    def _pauses(self, version: int) -> bool:
        """Whether the run pauses after this many steps, with a checkpoint; only runs that are
        judged on the way do."""
        return False

    def _pause(self, version: int, condensed: CondensedSet) -> None:
        """Do what the pause after this many steps is for; nothing here."""

    def _sized(self, pool: RayPool) -> RunConfig:
        """The configuration with the number of classes per call: as given, or the most that the
        workers' memory allows."""
        if self.config.matching.classes_per_call is not None:
            return self.config
        size = call_size(self.config, pool.measure(), len(self.info.class_names), self.runs)
        self.progress.note(size.describe())
        if not size.fits:
            self.progress.trouble(size.shortage())
        return with_call_size(self.config, size)

    def _begin(self, **fields: Any) -> None:
        """Take over the folder. A failure before this point leaves the run that is to be replaced
        untouched."""
        if not self.resumes:
            self.folder.clear()
            self.checkpoints.clear()
        resources = "".join(f"# resources when this started: {line}\n" for line in fields.get("resources", "").splitlines())
        write_atomically(self.path / CONFIG_FILE, resources + dump_config(self.config))
        if not self.started:
            self._track()
        self.started = True
        self._tell("started", self.start, **fields)
        self.tracking.tags({name: str(value) for name, value in fields.items()})

    def _check(self) -> None:
        """Stop at once while actors start, when there is nothing to lose; later let the current
        step finish."""
        if self.started:
            self.stop.raise_if_overdue()
        else:
            self.stop.raise_if_requested()

    def _run_steps(self, config: RunConfig, pool: RayPool) -> np.ndarray:
        """Run the remaining steps; returns the images (K, I, C, H, W)."""
        classes, train_images = len(self.info.class_names), self.info.sizes["train"]
        coordinator = Coordinator(config, pool, classes=classes, train_images=train_images, tell=self._tell)
        self.progress.stage("condensing")
        if self.start == 0:
            coordinator.checkpoint(0)  # from here on a killed run can be resumed, and is not mistaken for another one
            (first,) = pool.get([pool.server.snapshot()])
            self._track_images(0, self._condensed_set(first.images_KICHW))
        snapshot = coordinator.run(self.start, lambda record: self._after_step(record, coordinator, pool))
        images_KICHW: np.ndarray = snapshot.images_KICHW
        return images_KICHW

    def _after_step(self, record: StepRecord, coordinator: Coordinator, pool: RayPool) -> None:
        version = record.plan.version + 1
        if version > self.recorded:  # else the step was repeated after a fault, with the same result
            self.metrics.add({**record.position, "time": time_ns() // 1_000_000, **record.metrics})
            self.recorded = version
        self.progress.step(version, self.total, record.metrics, record.left_out)
        schedule = self.config.schedule
        last = version == self.total
        pauses = self._pauses(version)
        if last or pauses or self.stop.signal_number is not None or version % schedule.checkpoint_every == 0:
            self._checkpoint(coordinator, version)
        if last or version % schedule.picture_every == 0:
            (snapshot,) = pool.get([record.snapshot])
            self._track_images(version, self._condensed_set(snapshot.images_KICHW))
        if pauses:
            (snapshot,) = pool.get([record.snapshot])
            self._pause(version, self._condensed_set(snapshot.images_KICHW))
        self.stop.raise_if_requested()

    def _track_images(self, version: int, images: CondensedSet) -> None:
        self.tracking.image("images/condensed", grid_array(images), version)  # MLflow groups by what stands before the slash

    def _checkpoint(self, coordinator: Coordinator, version: int) -> None:
        failed = self.saves.attempt(lambda: coordinator.checkpoint(version))
        if failed is None:
            self._tell("checkpoint", version)
        else:
            self._tell("checkpoint_failed", version, reason=str(failed))

    def _tell(self, kind: Kind, step: int, **fields: Any) -> None:
        """Record an event; show it when it is trouble."""
        event = self.events.add(kind, step, **fields)
        if kind in TROUBLE:
            self.progress.trouble(event.describe())

    def _evaluate(self, condensed: CondensedSet) -> Evaluation:
        notes = (*balance_notes(self.config), *mnist_notes(self.config.evaluation, self.info.normalisation))
        evaluation = evaluate_in_session(condensed, self.config, self.config.pool.members, notes, self.progress, self.stop)
        evaluation.write(self.path / EVALUATION_FILE)
        from hmdc_ray.figures.write import run_figures  # matplotlib takes a second to import

        run_figures(self.path, evaluation)
        for row in evaluation.rows:
            for kind in KINDS:
                summary = getattr(row, kind)
                if summary is not None:
                    self.tracking.metrics(self.total, {f"accuracy/{row.architecture}_{kind}": summary.mean})
        return evaluation

    def _condensed_set(self, array_KICHW: np.ndarray) -> CondensedSet:
        return CondensedSet.learned(array_KICHW, self.info, self.config)

    def _track(self) -> None:
        self.tracking = open_tracking(self.config, self.info, self.path, self.parent)
