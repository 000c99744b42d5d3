"""A pre-training from configuration to weights: ``pretrain``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from hmdc_ray.actors.session import ray_session
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import CONFIG_FILE, dump_config
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError, mark_resumable
from hmdc_ray.evaluation.mnist import mnist_notes
from hmdc_ray.exchange.resources import with_threads
from hmdc_ray.pretrain.fit import Fit, find_worker_resources, require_resources, run_config
from hmdc_ray.pretrain.folder import (
    Record,
    claim,
    clear,
    read_record,
    require_resumable,
    storage_location,
    write_record,
)
from hmdc_ray.pretrain.plan import MeasuredSplit, Plan, make_plan
from hmdc_ray.pretrain.report import Pretrained, TrainedNetwork
from hmdc_ray.pretrain.train_networks import Position
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.run.progress import ReadingProgress, load_dataset_info
from hmdc_ray.server.storage import require_writable
from hmdc_ray.system.files import write_atomically
from hmdc_ray.system.signals import Interrupted, StopRequest, stop_on_signals

CHECKPOINT_SECONDS = 60.0


class Progress(ReadingProgress, Protocol):
    """Receives the progress of a pre-training."""

    def epoch(self, name: str, done: int, total: int) -> None:
        """Epochs of a network done so far."""


def pretrain(
    config: RunConfig,
    output: Path | str,
    *,
    progress: Progress,
    architectures: str | None = None,
    workers: int = 1,
    split: MeasuredSplit = "validation",
    storage_path: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Pretrained:
    """Train networks on the real training split with Ray Train, and write their weights into a
    folder.

    The folder holds ``NAME.safetensors`` for each network (see :mod:`hmdc_ray.models.weights`),
    ``accuracies.json``, ``losses.jsonl``, ``config.yaml``, ``pretrain.json``, and, unless they are
    stored elsewhere, Ray Train's checkpoints. When a worker dies, the workers are restarted from
    the last checkpoint, and end with the weights of an undisturbed training.

    Args:
        config: data, seed, members, students with their recipe, and threads; a worker takes
            ``evaluation.num_gpus`` GPUs.
        output: the folder.
        progress: receiver of the progress.
        architectures: comma-separated names of networks, see
            :func:`hmdc_ray.pretrain.plan.make_plan`.
        workers: number of workers that train together, at least 1. Each step's batch is the same
            for any number.
        split: split on which accuracy is measured.
        storage_path: folder, or address that pyarrow has a file system for (s3://, gs://), where
            Ray Train keeps checkpoints and which all nodes must see; None: ``output``.
        resume: whether to resume the training in the folder.
        overwrite: whether to replace the training in the folder.
        address: address of a Ray cluster; a local one is started if there is none.
        checkpoint_seconds: least seconds between two checkpoints, which are made at the ends of
            epochs.

    Raises:
        InputError: configuration, data, folder, storage or cluster are not usable.
        RunError: a training diverges, or workers die again and again.
        Interrupted: SIGINT or SIGTERM came; the training can be resumed.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}: must be at least 1")
    config, path = with_absolute_paths(config), Path(output).absolute()
    with stop_on_signals() as stop:
        info = load_dataset_info(config, progress, stop)
        plan = make_plan(config, info, architectures, split, checkpoint_seconds)
        epochs = plan.recipes[0].epochs
        for note in mnist_notes(config.evaluation.model_copy(update={"epochs": epochs}), info.normalisation):
            progress.note(note)
        folder = claim(path, overwrite=overwrite, resume=resume)
        try:
            begun = read_record(path) if resume else None
            storage = begun.storage if begun else storage_location(storage_path, path)
            require_writable(storage, path, "--storage-path", stop.raise_if_requested)
            with ray_session(address, progress.stage, stop.raise_if_requested):
                found = find_worker_resources(config, workers, begun.identity if begun else None)
                plan = plan.with_workers(found.threads, found.num_gpus, config.matching.precision)
                if begun is not None:
                    require_resumable(begun, path, storage_path, plan, info)
                record = begun or Record.fresh(config.name, storage, plan.identity(info))
                progress.resources(found.line)
                each = require_resources(workers, found.threads, found.num_gpus)
                config = with_threads(config, found.threads)
                position = _train(plan, record, folder, config, workers, each, resume, stop, progress)
            result = _summary(plan, position, workers, info)
            result.write(path, position.losses)
            return result
        finally:
            folder.release()


def _train(
    plan: Plan,
    record: Record,
    folder: RunFolder,
    config: RunConfig,
    workers: int,
    each: dict[str, float],
    resume: bool,
    stop: StopRequest,
    progress: Progress,
) -> Position:
    """Train on Ray in a claimed folder, which is cleared only after all checks have passed."""
    stop.raise_if_requested()
    run = run_config(record.run, record.storage)
    if not resume:
        clear(folder, keep=record.run)
    write_atomically(folder.path / CONFIG_FILE, dump_config(config))
    write_record(folder.path, record)
    progress.stage("training networks")
    fit = Fit(plan, workers=workers, each=each, run=run, stop=stop, epoch_done=progress.epoch)
    try:
        return fit.execute(folder.path)
    except Interrupted as stopped:
        stopped.resumable = True
        raise
    except Exception as error:
        mark_resumable(error)
        raise


def _summary(plan: Plan, position: Position, workers: int, info: DatasetInfo) -> Pretrained:
    networks = []
    for section, recipe in zip(plan.networks, plan.recipes, strict=True):
        losses = position.losses[section.name]
        last = losses[-(len(losses) // recipe.trained_epochs) :]
        networks.append(
            TrainedNetwork(
                name=section.name,
                architecture=section.architecture,
                options=section.options,
                start=section.weights,
                epochs=recipe.trained_epochs,
                steps=len(losses),
                loss=sum(last) / len(last),
                accuracy=position.accuracies[section.name],
            )
        )
    return Pretrained(
        networks=tuple(networks),
        split=plan.split,
        seed=plan.seed,
        workers=workers,
        data_source=info.source,
        data_fingerprint=info.fingerprint,
        version=version("hmdc-ray"),
    )
