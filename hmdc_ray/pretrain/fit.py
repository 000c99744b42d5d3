"""Training by Ray Train: started, watched, and its result fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError
from ray.train.torch import TorchConfig, TorchTrainer

from hmdc_ray.actors.nodes import UNSEEN, cluster_nodes, largest_node, probe_gpu
from hmdc_ray.actors.session import POLL_SECONDS, remote
from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.exchange.resources import gpu_parts, threads_for
from hmdc_ray.pretrain.plan import Plan
from hmdc_ray.pretrain.train_networks import Position, weights_file
from hmdc_ray.pretrain.worker import Board, Task, train
from hmdc_ray.system.signals import Interrupted, StopRequest

TrainConfig = Any  # Ray Train's type stubs describe its first version, and not the one that runs
Result = Any

MAX_FAILURES = 3
"""How often the workers are restarted from the last checkpoint after one of them died."""


@dataclass(frozen=True)
class WorkerResources:
    """What each worker has.

    Attributes:
        threads: number of torch threads.
        num_gpus: number of GPUs, may be a part of one.
        line: description for people, such as ``2 workers on 2 x H100, 8 threads each``.
    """

    threads: int
    num_gpus: float
    line: str


def find_worker_resources(config: RunConfig, workers: int, begun: Mapping[str, Any] | None) -> WorkerResources:
    """Choose what the configuration leaves open: a GPU for every worker, or an equal part of one,
    and the cores of the nodes.

    Args:
        config: the configuration.
        workers: number of workers.
        begun: identity of the training that is resumed, whose number of threads is kept, as is
            whether it is on GPUs; None: a new one.
    """
    begun, nodes = begun or {}, cluster_nodes()
    there, num_gpus = sum(int(node.gpus) for node in nodes), config.evaluation.num_gpus
    why = ""
    if num_gpus == AUTO:
        on_cpus = "GPU format" in begun and begun["GPU format"] is None
        seen = there > 0 and not on_cpus and probe_gpu() != 0
        why = "as it was begun" if on_cpus else UNSEEN if there else "there is no GPU"
        num_gpus = gpu_parts(there if seen else 0, workers, 1, lambda: [0.0] * workers)[-1]
    hosts = [node for node in nodes if node.gpus] if num_gpus else nodes
    threads = config.cluster.threads
    if threads == AUTO:
        threads = begun.get("cluster.threads") or threads_for([node.cpus for node in hosts], workers)
    where = f"{there} x {hosts[0].gpu or 'GPU'}, {num_gpus:g} each" if num_gpus and hosts else f"the CPU{why and f' ({why})'}"
    line = f"{workers} worker{'' if workers == 1 else 's'} on {where}, {threads} thread{'' if threads == 1 else 's'} each"
    return WorkerResources(threads, num_gpus, line)


def require_resources(workers: int, threads: int, num_gpus: float) -> dict[str, float]:
    """The resources of each worker, as Ray counts them.

    Raises:
        InputError: the cluster has too few, for which Ray Train would wait forever.
    """
    each = {"CPU": float(min(threads, largest_node("CPU"))), **({"GPU": num_gpus} if num_gpus else {})}
    for resource, amount in each.items():
        places = sum(int(node.resources.get(resource, 0.0) / amount + 1e-9) for node in cluster_nodes() if amount)
        if places < workers:
            field = "cluster.threads" if resource == "CPU" else "evaluation.num_gpus"
            raise InputError(
                f"--workers is {workers}, each with {amount:g} {resource}, but the cluster has room for {places}: "
                f"use fewer, or a smaller {field}, or a larger cluster"
            )
    return each


def run_config(name: str, storage: str) -> TrainConfig:
    """Ray Train's configuration: where it keeps the last checkpoint, and how often it restarts the
    workers.

    Raises:
        InputError: the storage cannot be written.
    """
    config: TrainConfig = ray.train.RunConfig(
        name=name,
        storage_path=storage,
        failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
        checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
    )
    try:
        config.storage_context  # noqa: B018  # writes a file there
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"storage path {storage!r} cannot be written ({error}): give a folder, or an address such as s3://bucket/folder, "
            "that all nodes can write to"
        ) from error
    return config


class Fit:
    """One training by Ray Train.

    Args:
        plan: plan of the training.
        workers: number of workers, at least 1.
        each: resources of each worker, from :func:`require_resources`.
        run: Ray Train's configuration, from :func:`run_config`. A run of its name that the storage
            already holds is resumed.
        stop: request to stop.
        epoch_done: called with network, epochs done, and epochs in all.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        workers: int,
        each: dict[str, float],
        run: TrainConfig,
        stop: StopRequest,
        epoch_done: Callable[[str, int, int], None],
    ) -> None:
        self._networks = len(plan.networks)
        self._stop = stop
        self._epoch_done = epoch_done
        self._reported: tuple[str, int, int] | None = None
        self._outcome: Result | BaseException | None = None
        num_gpus = each.get("GPU", 0.0)
        self._board = remote(Board).options(num_cpus=0).remote()
        task = Task(plan=plan, board=self._board, folder=str(Path.cwd()))
        trainer: Any = TorchTrainer
        self._trainer = trainer(
            train,
            train_loop_config=dict(task),
            # Two processes cannot share a GPU in NCCL.
            torch_config=TorchConfig(backend="nccl" if num_gpus >= 1 else "gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=num_gpus > 0, resources_per_worker=each),
            run_config=run,
        )

    def execute(self, folder: Path) -> Position:
        """Train all networks, and copy their weights into ``folder``.

        Raises:
            InputError: data or a network cannot be had on a node.
            RunError: a training diverges, or workers die again and again.
            Interrupted: a signal came; the training can be resumed.
        """
        # Not in the main thread, where Ray Train would handle SIGINT itself and end the process.
        thread = Thread(target=self._fit, name="ray-train", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            self._stop.raise_if_overdue()
            self._watch()
        checkpoint = self._result().checkpoint
        assert checkpoint is not None, "training ended without a checkpoint"
        with checkpoint.as_directory() as found:
            position = Position.read(Path(found))
            if len(position.accuracies) < self._networks:
                assert self._stop.signal_number is not None, "training ended before its end"
                raise Interrupted(self._stop.signal_number)
            for name in position.accuracies:
                shutil.copy(weights_file(Path(found), name), folder)
        return position

    def _fit(self) -> None:
        try:
            self._outcome = self._trainer.fit()
        except BaseException as error:
            self._outcome = error

    def _watch(self) -> None:
        try:
            position = ray.get(self._board.look.remote(self._stop.signal_number is not None))
        except RayError as error:
            raise RunError(f"Ray ended while networks were trained ({error})") from error
        if position is not None and position != self._reported:
            self._reported = position
            self._epoch_done(*position)

    def _result(self) -> Result:
        outcome = self._outcome
        if isinstance(outcome, ray.train.TrainingFailedError):
            raise _cause(outcome) from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None
        if isinstance(outcome.return_value, RunError):
            raise outcome.return_value
        return outcome


def _cause(error: Exception) -> Exception:
    """The error to raise for a failure: an input error as such; of a programming error the whole
    traceback."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    # Ray Train wraps what a worker's function raises, for which it has no public attribute; all
    # else is the worker's death.
    raised = [getattr(failure, "_base_exc", None) for failure in failures.values()]
    for cause in raised:
        if isinstance(cause, InputError):
            return InputError(str(cause))
    if None in raised:
        reason = str([*failures.values()][raised.index(None)]).strip().splitlines()[0]
        return RunError(f"workers died {MAX_FAILURES + 1} times ({reason})")
    return error
