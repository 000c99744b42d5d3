"""Connecting to Ray: an existing cluster by address, or one of our own on this machine, closed when done."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from hmdc_ray.config import EvaluationConfig
from hmdc_ray.errors import InputError, RunError

Ref = ray.ObjectRef[Any]

remote: Any = ray.remote
"""``ray.remote`` for plain classes and functions wrapped at assembly, which its type stubs do not describe."""

POLL_SECONDS = 0.2
"""How often a wait for results looks whether the run is to stop."""

FETCH_SECONDS = 60.0
"""How long it may take to bring results that exist to this process."""


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Use the Ray that this process is connected to, the cluster at ``address`` (or in RAY_ADDRESS), or a fresh local one.

    A local one is bound to loopback and shut down at the end.

    Raises:
        InputError: no cluster answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    local: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
        if address == "local":
            raise
        raise InputError(
            f"address is {address!r}, where no Ray cluster answers ({error}): give that of a running head"
        ) from error
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Ray puts its own in their place
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def largest_node(resource: str) -> float:
    """The most that one node of the cluster has of a resource, such as ``CPU`` or ``GPU``."""
    return max((node["Resources"].get(resource, 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)


def require_gpus(config: EvaluationConfig) -> None:
    """Refuse an evaluation whose students would wait for GPUs for ever.

    Raises:
        InputError: no node has as many GPUs as a student asks for.
    """
    if config.num_gpus and config.num_gpus > largest_node("GPU"):
        raise InputError(
            f"evaluation.num_gpus is {config.num_gpus:g}, but no node has more than {largest_node('GPU'):g}: "
            "use 0 to train students on CPUs"
        )


def import_from(folder: str) -> None:
    """Let this process import modules that lie in ``folder``, last of all places.

    Workers of a Ray that was started elsewhere have another working directory than the driver, where a user's own network
    may lie.
    """
    if folder not in sys.path:
        sys.path.append(folder)


def wait(references: Sequence[Ref], timeout: float, check: Callable[[], None], what: str) -> None:
    """Wait until all results exist.

    Args:
        references: different ones.
        timeout: seconds.
        check: called several times a second; may raise to stop waiting.
        what: for the message.

    Raises:
        TimeoutError: some are missing after ``timeout``.
    """
    pending, deadline = list(references), monotonic() + timeout
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=POLL_SECONDS, fetch_local=False)
        check()
        if pending and monotonic() > deadline:
            raise TimeoutError(
                f"{what} did not answer within {timeout:g} s ({len(pending)} of {len(references)} calls are missing)"
            )


def fetch(references: Sequence[Ref]) -> list[Any]:
    """Values of results that exist; an input error in an actor is raised as such, without the remote traceback.

    Raises:
        InputError: as raised in the actor, or training diverged there.
        RunError: a process died.
    """
    try:
        return list(ray.get(list(references), timeout=FETCH_SECONDS))
    except RayTaskError as error:
        if isinstance(error.cause, InputError | FloatingPointError):
            raise InputError(str(error.cause)) from None
        if isinstance(error.cause, torch.OutOfMemoryError):
            raise RunError(
                f"out of GPU memory ({str(error.cause).splitlines()[0]}): lower matching.classes_per_call"
            ) from error
        raise
    except RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"a process of the run died ({reason}): go on from the last checkpoint with --resume") from error
