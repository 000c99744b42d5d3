"""Execution of an evaluation's tasks; :mod:`hmdc_ray.actors.evaluation` runs them as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

Handle = Any
"""Reference to a value that exists or will exist somewhere."""


class Executor(Protocol):
    """Runs functions, elsewhere and several at a time if it can."""

    def put(self, value: Any) -> Handle:
        """A handle on a value that many tasks take."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Schedule ``function(*arguments)``; handles among the arguments are replaced by their values."""

    def completed(self, handles: Sequence[Handle]) -> Iterator[tuple[int, Any]]:
        """Position and value of every handle, as tasks end; raises the error of the first task that fails.

        See :func:`hmdc_ray.evaluation.outcome.attempt` for tasks that return a failure instead.
        """
