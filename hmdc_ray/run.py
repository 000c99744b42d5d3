"""A run from configuration to evaluated images: ``condense`` and ``evaluate``."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from hmdc_ray.actors.evaluation import evaluate_on_ray
from hmdc_ray.actors.launch import RayPool, launch
from hmdc_ray.actors.session import ray_session, require_gpus
from hmdc_ray.condensed import CondensedSet, save_condensed
from hmdc_ray.config import MemberConfig, NetworkSection, RunConfig
from hmdc_ray.config.io import dump_config, flatten, parse_config
from hmdc_ray.coordinator import Coordinator, StepRecord
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.digits import NAME as DIGITS
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.images import KINDS
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets, check_all_fit, named_sets
from hmdc_ray.files import RunFolder, append_json_line, read_json_lines, write_atomically
from hmdc_ray.interrupt import Interrupted, StopRequest, stop_on_signals
from hmdc_ray.pictures import grid_array, image_grid
from hmdc_ray.progress import Progress, Silent
from hmdc_ray.resume import resumable_version
from hmdc_ray.schedule import total_steps
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder
from hmdc_ray.tracking import NoTracker, Tracker, Tracking
from hmdc_ray.validate import validate, validate_students

AnyNetwork = TypeVar("AnyNetwork", bound=NetworkSection)

TRACKING_FILE = "tracking.json"
TRACKER_SECONDS = 4.0
"""How long a stopped run waits for a tracking server that was still being opened."""

POSITION = ("step", "iteration", "members")
"""Entries of a line of metrics.jsonl that say which step it is of; all others are metrics."""

LAST_METRIC = "seconds/step"
"""The name that ends a step's metrics: what holds it for a step holds all the step's metrics."""


@dataclass(frozen=True)
class RunSummary:
    """What a finished run left behind.

    Attributes:
        folder: the run's folder.
        condensed: the condensed images.
        evaluation: accuracies of students trained on them, and on real images of the same number.
        tracking: how to look at the run in MLflow; empty when it was not tracked.
    """

    folder: Path
    condensed: CondensedSet
    evaluation: Evaluation
    tracking: str


def condense(
    config: RunConfig,
    output: Path | str | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Learn condensed images, evaluate them, and write everything into the run's folder.

    Args:
        config: the run.
        output: the run's folder; ``runs/<name>`` if not given.
        resume: go on from the folder's last checkpoint, to the same images as a run that was never stopped.
        overwrite: replace the run that the folder holds.
        address: of a Ray cluster; a local one is started if there is none.
        progress: is told the course of the run.

    Raises:
        InputError: configuration, data, folder, checkpoint, cluster or tracking server are not usable.
        Interrupted: SIGINT or SIGTERM came; after the start a checkpoint is saved, and the run can be resumed.
    """
    progress = progress or Silent()
    config = _located(config)
    path = Path(output or Path("runs") / config.name).absolute()
    with stop_on_signals() as stop:
        info = _read_data(config, progress, stop)
        validate(config, info)
        folder = RunFolder.claim(path, overwrite=overwrite, resume=resume)
        try:
            start = resumable_version(path, config, info) if resume else None
            return _Run(config, info, folder, start, progress, stop).execute(address)
        finally:
            folder.release()


def evaluate(
    condensed: Sets,
    config: RunConfig,
    *,
    address: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge condensed images by the students that are trained on them.

    Args:
        condensed: one set, see :func:`hmdc_ray.condensed.load_condensed`, or several, as a sequence or as a mapping from
            names: the first is held against real images, and the others against the first.
        config: its sections ``data`` and ``evaluation``, its seed and its threads are used.
        address: of a Ray cluster; a local one is started if there is none.
        progress: is told the course.

    Raises:
        InputError: configuration, data or images are not usable, or do not fit together.
        RunError: a student's training diverged, or a process died.
        Interrupted: SIGINT or SIGTERM came.
    """
    progress = progress or Silent()
    config = _located(config)
    sets = named_sets(condensed)
    with stop_on_signals() as stop:
        info = _read_data(config, progress, stop)
        check_all_fit(sets, info)
        validate_students(config, info)
        progress.stage("starting Ray")
        with ray_session(address):
            require_gpus(config.evaluation)
            progress.stage("evaluating")
            evaluation = evaluate_on_ray(
                condensed,
                config,
                pool=_pool_members(next(iter(sets.values()))),
                progress=progress.trial,
                check=stop.raise_if_requested,
            )
    progress.result(evaluation)
    return evaluation


class _Run:
    """One execution of ``condense`` in a claimed folder: a new run, or one gone on with from image version ``resumed``."""

    def __init__(
        self,
        config: RunConfig,
        info: DatasetInfo,
        folder: RunFolder,
        resumed: int | None,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self.config = config
        self.info = info
        self.folder = folder
        self.path = folder.path
        self.resumes = resumed is not None
        self.start = resumed or 0
        self.progress = progress
        self.stop = stop
        self.total = total_steps(config.schedule)
        self.checkpoints = CheckpointFolder(self.path / "checkpoint")
        self.started = False
        self.tracking: Tracking = NoTracker()
        self.tracked = 0

    def execute(self, address: str | None) -> RunSummary:
        """Condense what is left to condense, evaluate, and close the tracking run with how it ended."""
        with ExitStack() as stack:
            # MLflow takes seconds to start, and so do Ray and its actors: at the same time.
            tracker = stack.enter_context(ThreadPoolExecutor(1)).submit(self._open_tracking)
            try:
                self.progress.stage("starting Ray")
                stack.enter_context(ray_session(address))
                require_gpus(self.config.evaluation)
                condensed = self._condense(tracker)
                evaluation = self._evaluate(condensed)
            except Interrupted as stopped:
                with suppress(InputError, TimeoutError):  # a tracking server that does not answer must not hold up the stop
                    tracker.result(TRACKER_SECONDS).finish("KILLED")
                stopped.resumable = self.resumes or self.started
                raise
            except BaseException:
                if tracker.exception() is None:
                    tracker.result().finish("FAILED")
                raise
            self.tracking.artifacts(path for path in sorted(self.path.iterdir()) if not path.name.startswith("."))
            self.tracking.finish("FINISHED")
        self.progress.result(evaluation)
        return RunSummary(self.path, condensed, evaluation, self.tracking.location)

    # Parts

    def _condense(self, tracker: Future[Tracking]) -> CondensedSet:
        if self.start == self.total:
            self._begin(tracker.result())
            images_KICHW = self.checkpoints.load(self.total)[SERVER].arrays["images"]
        else:
            self.progress.stage("starting the pool")
            with launch(self.config, self.info, self.path, self._check) as pool:
                self._begin(tracker.result())
                images_KICHW = self._run_steps(pool)
        condensed = self._condensed_set(images_KICHW)
        save_condensed(self.path / "condensed.parquet", condensed)
        image_grid(condensed.pixels(), condensed.labels, condensed.class_names, self.path / "images.png")
        return condensed

    def _begin(self, tracking: Tracking) -> None:
        """Take over the folder. Until here all may fail, and what a run to be replaced has left is untouched."""
        if not self.resumes:
            self.folder.clear()
        write_atomically(self.path / "config.yaml", dump_config(self.config))
        if tracking.run_id:
            write_atomically(self.path / TRACKING_FILE, json.dumps({"run_id": tracking.run_id}))
        self.tracking = tracking
        self.started = True

    def _check(self) -> None:
        """While actors start there is nothing to lose; later the current step may end."""
        if self.started:
            self.stop.raise_if_overdue()
        else:
            self.stop.raise_if_requested()

    def _run_steps(self, pool: RayPool) -> np.ndarray:
        coordinator = Coordinator(self.config, pool, classes=len(self.info.class_names), train_images=self.info.sizes["train"])
        self.progress.stage("condensing")
        if self.start == 0:
            coordinator.checkpoint(0)  # from here on a run that is killed can be resumed, and another one is told from it
        coordinator.run(self.start, lambda record: self._after_step(record, coordinator, pool))
        (snapshot,) = pool.get([pool.server.snapshot()])
        images_KICHW: np.ndarray = snapshot.images_KICHW
        return images_KICHW

    def _after_step(self, record: StepRecord, coordinator: Coordinator, pool: RayPool) -> None:
        version = record.plan.version + 1
        append_json_line(self.path / "metrics.jsonl", {**record.position, **record.metrics})
        if version > self.tracked:
            self.tracking.metrics(version, record.metrics)
        self.progress.step(version, self.total, record.metrics, record.left_out)
        schedule = self.config.schedule
        last = version == self.total
        if last or self.stop.signal_number is not None or version % schedule.checkpoint_every == 0:
            coordinator.checkpoint(version)
        if last or version % schedule.picture_every == 0:
            (snapshot,) = pool.get([record.snapshot])
            images = self._condensed_set(snapshot.images_KICHW)
            self.tracking.image("images", grid_array(images.pixels(), images.labels, images.class_names), version)
        self.stop.raise_if_requested()

    def _evaluate(self, condensed: CondensedSet) -> Evaluation:
        self.progress.stage("evaluating")
        evaluation = evaluate_on_ray(
            condensed,
            self.config,
            pool=self.config.pool.members,
            progress=self.progress.trial,
            check=self.stop.raise_if_requested,
        )
        evaluation.write(self.path / "evaluation.json")
        from hmdc_ray.figures import run_figures  # matplotlib takes a second to import

        run_figures(self.path, evaluation)
        for row in evaluation.rows:
            for kind in KINDS:
                summary = getattr(row, kind)
                if summary is not None:
                    self.tracking.metrics(self.total, {f"accuracy/{row.architecture}_{kind}": summary.mean})
        return evaluation

    def _condensed_set(self, array_KICHW: np.ndarray) -> CondensedSet:
        images_KICHW = torch.tensor(array_KICHW, dtype=torch.float32)
        return CondensedSet(
            images=images_KICHW.flatten(0, 1),
            labels=torch.arange(len(images_KICHW)).repeat_interleave(images_KICHW.shape[1]),
            class_names=self.info.class_names,
            mean=self.info.mean,
            std=self.info.std,
            formation=self.config.images.formation,
            config=self.config.model_dump(mode="json"),
            fingerprint=self.info.fingerprint,
        )

    def _open_tracking(self) -> Tracking:
        if not self.config.tracking.enabled:
            return NoTracker()
        remembered = self.path / TRACKING_FILE
        run_id = json.loads(remembered.read_text())["run_id"] if self.resumes and remembered.exists() else None
        tags = {"preset": self.config.name, "seed": str(self.config.seed)}
        tracker = Tracker.open(self.config.tracking, self.config.name, self.path, tags, run_id)
        self.tracked = tracker.last_step(LAST_METRIC)
        if not self.tracked:
            self._describe(tracker)
        if self.resumes:
            self._send_missing(tracker)
        return tracker

    def _send_missing(self, tracker: Tracking) -> None:
        """Steps before the checkpoint whose metrics were not sent any more when the run was killed."""
        for record in read_json_lines(self.path / "metrics.jsonl"):
            version = record["step"]
            if version > self.tracked:
                tracker.metrics(version, {name: value for name, value in record.items() if name not in POSITION})
                self.tracked = version

    def _describe(self, tracker: Tracking) -> None:
        tracker.parameters(flatten(self.config))
        shape = self.info.shape
        kind = f"uint8 {shape.height}x{shape.width}x{shape.channels}"
        name = Path(self.info.source).name
        tracker.dataset(
            name,
            self.info.source,
            self.info.fingerprint,
            {"image": kind, "label": "int64"},
            dict[str, int](self.info.sizes.items()),
        )


def _located(config: RunConfig) -> RunConfig:
    """The configuration with paths that hold in any folder: workers and later evaluations run in others."""
    paths = {"source": None if config.data.source == DIGITS else config.data.source, "cache": config.data.cache}
    located = {name: str(Path(path).absolute()) for name, path in paths.items() if path and not path.startswith("~")}
    evaluation: dict[str, object] = {"students": _weights_located(config.evaluation.students)}
    distillation = config.evaluation.distillation
    if distillation is not None:
        (teacher,) = _weights_located((distillation.teacher,))
        evaluation["distillation"] = distillation.model_copy(update={"teacher": teacher})
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=located),
            "pool": config.pool.model_copy(update={"members": _weights_located(config.pool.members)}),
            "evaluation": config.evaluation.model_copy(update=evaluation),
        }
    )


def _weights_located(networks: tuple[AnyNetwork, ...]) -> tuple[AnyNetwork, ...]:
    return tuple(
        network.model_copy(update={"weights": f"checkpoint:{Path(network.checkpoint).absolute()}"})
        if network.checkpoint and not network.checkpoint.startswith("~")
        else network
        for network in networks
    )


def _read_data(config: RunConfig, progress: Progress, stop: StopRequest) -> DatasetInfo:
    def decoded(done: int, total: int) -> None:
        progress.images_decoded(done, total)
        stop.raise_if_requested()

    progress.stage("reading data")
    return open_dataset(config.data, decoded).info


def _pool_members(condensed: CondensedSet) -> tuple[MemberConfig, ...] | None:
    members = (condensed.config or {}).get("pool", {}).get("members")
    if not members:
        return None
    return parse_config({"pool": {"members": members}}, "the condensed set's configuration").pool.members
