"""Connecting to Ray: an existing cluster by address, or one of our own on this machine, closed when
done."""

from __future__ import annotations

import logging
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hmdc_ray.actors.cluster import ClusterAddress
from hmdc_ray.actors.token import protect_token, token_mode_kept
from hmdc_ray.errors import InputError, LostProcessError, RunError
from hmdc_ray.system.signals import Interrupted

Ref = ray.ObjectRef[Any]

remote: Any = ray.remote
"""``ray.remote`` for plain classes and functions wrapped at assembly, which its type stubs do not
describe."""

POLL_SECONDS = 0.2
"""How often a wait for results checks whether the run is to stop."""

START_ATTEMPTS = 2
"""How often a local Ray is started before giving up."""

FETCH_SECONDS = 60.0
"""How long it may take to fetch existing results to this process."""


@contextmanager
def ray_session(
    address: str | None = None,
    stage: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Use the Ray that this process is connected to, the cluster at ``address`` (or in
    RAY_ADDRESS), or a fresh local one.

    A local one is bound to loopback and shut down at the end.

    Args:
        address: address of a cluster, see :class:`hmdc_ray.actors.cluster.ClusterAddress`.
        stage: called with a line when Ray is started or connected to.
        check: called several times a second while connecting; may raise to stop.

    Raises:
        InputError: no cluster answers at the address, or it does not let this process join; a local
            Ray has no usable folder.
        RunError: a local Ray does not start.
        Interrupted: SIGTERM came while Ray was starting.
    """
    if ray.is_initialized():
        yield
        return
    wanted = ClusterAddress.chosen(address)
    # After a fault the calls that build on the failed one fail too; only the first is reported.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    with token_mode_kept():
        with _signals_kept():
            if wanted.given == "local":
                stage("starting Ray")
                _start_local()
            else:
                stage(f"connecting to Ray at {wanted.given}")
                wanted.join(check)
        try:
            check()
            yield
        finally:
            ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces by its own, which raises ``SystemExit``.

    Raises:
        Interrupted: SIGTERM came within the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit as left:
        ray.shutdown()
        if left.code == signal.SIGTERM:
            raise Interrupted(signal.SIGTERM) from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _start_local() -> None:
    """Start Ray on this machine; retry once if its processes took too long, as they may on a busy
    one."""
    protect_token()
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:  # Ray raises the bare class where its node does not start in time
            ray.shutdown()
            if isinstance(error, OSError) and error.filename is not None:
                raise InputError(
                    f"Ray cannot keep its files in {error.filename} ({error.strerror}): name a folder that can be written in "
                    "RAY_TMPDIR, or in TMPDIR"
                ) from error
            if attempt == START_ATTEMPTS:
                reason = " ".join(str(error).split()) or repr(error)
                raise RunError(
                    f"Ray did not start on this machine ({textwrap.shorten(reason, 200)}): try again when it is less busy,"
                    " or start Ray with 'ray start --head' and give --address auto"
                ) from error


def import_from(folder: str) -> None:
    """Let this process import modules from ``folder``, after all other places.

    The user's own network may be in the driver's working directory, which is not that of workers of
    an existing cluster.
    """
    if folder not in sys.path:
        sys.path.append(folder)


def wait(references: Sequence[Ref], timeout: float, check: Callable[[], None], what: str, *, local: bool = False) -> None:
    """Wait until all results exist.

    Args:
        references: references to results, all different.
        timeout: longest wait in seconds.
        check: called several times a second; may raise to stop waiting.
        what: subject of the error message, such as "the pool".
        local: whether to wait also until a copy of each result is on this node.

    Raises:
        TimeoutError: some results are missing after ``timeout``.
    """
    pending, deadline = list(references), monotonic() + timeout
    while pending:
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=POLL_SECONDS, fetch_local=local)
        check()
        if pending and monotonic() > deadline:
            raise TimeoutError(
                f"{what} did not answer within {timeout:g} s ({len(pending)} of {len(references)} calls are missing)"
            )


def fetch(references: Sequence[Ref]) -> list[Any]:
    """Values of results that exist; an input error in an actor is raised as such, without the
    remote traceback.

    Raises:
        InputError: the actor raised it.
        RunError: the actor raised it, or ran out of GPU memory.
        LostProcessError: the actor's process is gone, or one whose result it needed.
    """
    try:
        return list(ray.get(list(references), timeout=FETCH_SECONDS))
    except RayTaskError as error:
        if isinstance(error.cause, InputError | RunError):
            raise type(error.cause)(str(error.cause)) from None
        if isinstance(error.cause, RayError):
            raise _fault(error.cause) from error
        import torch  # not at the top: a session can start while torch is imported

        if isinstance(error.cause, torch.OutOfMemoryError):
            raise RunError(
                f"out of GPU memory ({str(error.cause).splitlines()[0]}): set cluster.memory_per_worker or "
                "matching.classes_per_call to smaller numbers, or let fewer members or students share a GPU (a larger num_gpus)"
            ) from error
        raise
    except RayError as error:
        raise _fault(error) from error


def _fault(error: RayError) -> LostProcessError:
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    return LostProcessError(f"a process is gone ({reason})")
