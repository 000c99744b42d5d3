"""A run from configuration to evaluated images: ``condense`` and ``evaluate``."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from hmdc_ray.actors.assembly import identity
from hmdc_ray.actors.evaluation import evaluate_on_ray
from hmdc_ray.actors.launch import RayPool, launch
from hmdc_ray.actors.session import ray_session
from hmdc_ray.condensed import CondensedSet, load_condensed, save_condensed
from hmdc_ray.config import RunConfig
from hmdc_ray.config_io import dump_config, flatten
from hmdc_ray.coordinator import Coordinator, StepRecord
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.plan import check_fit
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.files import RunFolder, append_json_line, read_json_lines, write_atomically
from hmdc_ray.interrupt import Interrupted, StopRequest, stop_on_signals
from hmdc_ray.messages import Snapshot
from hmdc_ray.pictures import grid_array, image_grid
from hmdc_ray.progress import Progress, Silent
from hmdc_ray.schedule import total_steps
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.tracking import NoTracker, Tracker, Tracking
from hmdc_ray.validate import validate, validate_students


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
        Interrupted: SIGINT or SIGTERM came; a checkpoint is saved, and the run can be resumed.
    """
    progress = progress or Silent()
    path = Path(output or Path("runs") / config.name).absolute()
    progress.stage("reading data")
    info = open_dataset(config.data, progress.images_decoded).info
    validate(config, info)
    with stop_on_signals() as stop:
        folder = RunFolder.claim(path, overwrite=overwrite, resume=resume)
        try:
            start = _resumable_version(path, config, info) if resume else 0
            write_atomically(path / "config.yaml", dump_config(config))
            return _Run(config, info, path, start, progress, stop).execute(address)
        finally:
            folder.release()


def evaluate(
    condensed: CondensedSet,
    config: RunConfig,
    *,
    address: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge condensed images by the students that are trained on them.

    Args:
        condensed: see :func:`hmdc_ray.condensed.load_condensed`.
        config: its sections ``data`` and ``evaluation``, its seed and its threads are used.
        address: of a Ray cluster; a local one is started if there is none.
        progress: is told the course.

    Raises:
        InputError: configuration, data or images are not usable, or do not fit together.
        Interrupted: SIGINT or SIGTERM came.
    """
    progress = progress or Silent()
    progress.stage("reading data")
    info = open_dataset(config.data, progress.images_decoded).info
    check_fit(condensed, info)
    validate_students(config, info)
    with stop_on_signals() as stop, ray_session(address):
        progress.stage("evaluating")
        evaluation = evaluate_on_ray(
            condensed,
            config,
            pool=_pool_architectures(condensed),
            progress=progress.trial,
            check=stop.raise_if_requested,
        )
    progress.result(evaluation)
    return evaluation


class _Run:
    """One execution of ``condense`` in a claimed folder, from image version ``start``."""

    def __init__(
        self, config: RunConfig, info: DatasetInfo, path: Path, start: int, progress: Progress, stop: StopRequest
    ) -> None:
        self.config = config
        self.info = info
        self.path = path
        self.start = start
        self.progress = progress
        self.stop = stop
        self.total = total_steps(config.schedule)
        self.tracking: Tracking = NoTracker()

    def execute(self, address: str | None) -> RunSummary:
        """Condense what is left to condense, evaluate, and close the tracking run with how it ended."""
        with ExitStack() as stack:
            # MLflow takes seconds to start, and so do Ray and its actors: at the same time.
            tracker = stack.enter_context(ThreadPoolExecutor(1)).submit(self._open_tracking)
            try:
                self.progress.stage("starting Ray")
                stack.enter_context(ray_session(address))
                condensed = self._condense(tracker)
                self.tracking = tracker.result()
                evaluation = self._evaluate(condensed)
            except Interrupted:
                tracker.result().finish("KILLED")
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
        target = self.path / "condensed.parquet"
        if self.start == self.total and target.exists():
            return load_condensed(target)
        self.progress.stage("starting the pool")
        with launch(self.config, self.info, self.path, self.stop.raise_if_overdue) as pool:
            self.tracking = tracker.result()
            train_images = self.info.sizes["train"]
            coordinator = Coordinator(self.config, pool, classes=len(self.info.class_names), train_images=train_images)
            self.progress.stage("condensing")
            coordinator.run(self.start, lambda record: self._after_step(record, coordinator, pool))
            (snapshot,) = pool.get([pool.server.snapshot()])
        condensed = self._condensed_set(snapshot)
        save_condensed(target, condensed)
        image_grid(condensed.pixels(), condensed.labels, condensed.class_names, self.path / "images.png")
        return condensed

    def _after_step(self, record: StepRecord, coordinator: Coordinator, pool: RayPool) -> None:
        version = record.plan.version + 1
        append_json_line(self.path / "metrics.jsonl", {"step": version, "iteration": record.plan.iteration, **record.metrics})
        self.tracking.metrics(version, record.metrics)
        self.progress.step(version, self.total, record.metrics, record.left_out)
        schedule = self.config.schedule
        last = version == self.total
        if last or self.stop.signal_number is not None or version % schedule.checkpoint_every == 0:
            coordinator.checkpoint(version)
        if last or version % schedule.picture_every == 0:
            (snapshot,) = pool.get([record.snapshot])
            images = self._condensed_set(snapshot)
            self.tracking.image("images", grid_array(images.pixels(), images.labels, images.class_names), version)
        self.stop.raise_if_requested()

    def _evaluate(self, condensed: CondensedSet) -> Evaluation:
        self.progress.stage("evaluating")
        evaluation = evaluate_on_ray(
            condensed,
            self.config,
            pool={member.architecture for member in self.config.pool.members},
            progress=self.progress.trial,
            check=self.stop.raise_if_requested,
        )
        evaluation.write(self.path / "evaluation.json")
        for row in evaluation.rows:
            for kind in ("condensed", "random", "kmeans"):
                summary = getattr(row, kind)
                if summary is not None:
                    self.tracking.metrics(self.total, {f"accuracy/{row.architecture}_{kind}": summary.mean})
        return evaluation

    def _condensed_set(self, snapshot: Snapshot) -> CondensedSet:
        images_KICHW = torch.tensor(snapshot.images_KICHW, dtype=torch.float32)
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
        remembered = self.path / "tracking.json"
        run_id = json.loads(remembered.read_text())["run_id"] if self.start and remembered.exists() else None
        tags = {"preset": self.config.name, "seed": str(self.config.seed)}
        tracker = Tracker.open(self.config.tracking, self.config.name, self.path, tags, run_id)
        write_atomically(remembered, json.dumps({"run_id": tracker.run_id}))
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
        return tracker


def _pool_architectures(condensed: CondensedSet) -> set[str] | None:
    members = (condensed.config or {}).get("pool", {}).get("members")
    return {member["architecture"] for member in members} if members else None


def _resumable_version(path: Path, config: RunConfig, info: DatasetInfo) -> int:
    """The image version to go on from; cuts the metrics back to it. 0 when no checkpoint was saved yet.

    Raises:
        InputError: the configuration or the data differ from the checkpoint's in something that changes the images.
    """
    latest = CheckpointFolder(path / "checkpoint").latest()
    version = latest.version if latest else 0
    if latest is not None:
        saved, current = (_flat(entry) for entry in (latest.identity, identity(config, info)))
        different = sorted(name for name in saved | current if saved.get(name) != current.get(name))
        if different:
            name = different[0]
            more = f" (also {', '.join(different[1:])})" if different[1:] else ""
            raise InputError(
                f"{name.removeprefix('config.')} is {current.get(name)!r}, but the checkpoint in {path} was made with "
                f"{saved.get(name)!r}{more}: resume with the same value, or start anew with --overwrite or another --output"
            )
    if version > total_steps(config.schedule):
        raise InputError(
            f"schedule.iterations {config.schedule.iterations} x steps {config.schedule.steps} is less than the {version} "
            f"steps that the run in {path} has done: ask for more"
        )
    kept = [record for record in read_json_lines(path / "metrics.jsonl") if record["step"] <= version]
    write_atomically(path / "metrics.jsonl", "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in kept))
    return version


def _flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict) and value:
        return {key: leaf for part, inner in value.items() for key, leaf in _flat(inner, f"{name}.{part}".strip(".")).items()}
    if isinstance(value, list) and value:
        return {key: leaf for part, inner in enumerate(value) for key, leaf in _flat(inner, f"{name}.{part}").items()}
    return {name: value}
