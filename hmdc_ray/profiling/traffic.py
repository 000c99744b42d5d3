"""Bytes that processes receive from each other, counted on a pool in one process by wrapping its
handles."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from torch.profiler import record_function

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.system.timing import Clock

SERVER = "server"
DRIVER = "driver"

KEPT = ("match", "pull_back")
"""Calls to members whose results are kept."""


def array_bytes(value: object) -> int:
    """Bytes of the arrays in a message."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        return sum(array_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple | list):
        return sum(map(array_bytes, value))
    if isinstance(value, dict):
        return sum(map(array_bytes, value.values()))
    return 0


class Traffic:
    """Counts each message once for every process that receives it, and never for the one that made
    it."""

    def __init__(self) -> None:
        # By process and identity. Weak, so that counting keeps no message alive.
        self._held: WeakValueDictionary[tuple[str, int], Any] = WeakValueDictionary()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def made(self, process: str, result: object) -> None:
        """Note that a call returned a message, or a tuple of them."""
        for message in result if isinstance(result, tuple) else (result,):
            if is_dataclass(message):
                self._held[process, id(message)] = message

    def received(self, process: str, call: str, arguments: Sequence[object]) -> None:
        """Note that a call was given these arguments."""
        for message in arguments:
            if is_dataclass(message) and self._held.get((process, id(message))) is not message:
                self._held[process, id(message)] = message
                self._bytes[process, call] += array_bytes(message)

    def take(self) -> dict[tuple[str, str], int]:
        """Bytes by process and call since the last take."""
        taken = {key: count for key, count in self._bytes.items() if count}
        self._bytes.clear()
        return taken


class _CountedHandle:
    """Passes calls on to a worker or the server, counts what they bring, and times them by name."""

    def __init__(self, target: object, process: str, traffic: Traffic) -> None:
        self._target = target
        self._process = process
        self._traffic = traffic
        self.clock = Clock()
        self.results: dict[str, list[Any]] = defaultdict(list)

    def __getattr__(self, call: str) -> Any:
        method = getattr(self._target, call)

        def counted(*arguments: object) -> Any:
            self._traffic.received(self._process, call, arguments)
            with self.clock.phase(call), record_function(f"{self._process}: {call}"):
                result = method(*arguments)
            self._traffic.made(self._process, result)
            if call in KEPT:
                self.results[call].append(result)
            return result

        return counted


class CountedPool:
    """A local pool that counts what would move if each member, the server and the driver were
    processes of their own.

    Args:
        pool: pool with its workers, in order, and its server.
        names: the members' process names, in the same order.

    Attributes:
        workers: counted handles.
        server: counted handle.
        traffic: bytes received.
    """

    def __init__(self, pool: LocalPool, names: Sequence[str]) -> None:
        self.traffic = Traffic()
        self.workers: list[Any] = [
            _CountedHandle(worker, name, self.traffic) for worker, name in zip(pool.workers, names, strict=True)
        ]
        self.server: Any = _CountedHandle(pool.server, SERVER, self.traffic)
        self._named = dict(zip(names, self.workers, strict=True))
        self._pool = pool
        self.keep = pool.keep
        self.heal = pool.heal

    def get(self, references: Sequence[Any]) -> list[Any]:
        """The values, which the driver receives."""
        self.traffic.received(DRIVER, "get", references)
        return self._pool.get(references)

    def take_results(self) -> dict[tuple[str, str], list[Any]]:
        """Results of the calls in :data:`KEPT` since the last take, by process and call."""
        taken = {(name, call): worker.results.pop(call, []) for name, worker in self._named.items() for call in KEPT}
        return {key: results for key, results in taken.items() if results}
