"""Execution of an evaluation's tasks: here in this process; :mod:`hmdc_ray.actors.evaluation` runs them as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
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


class InProcess:
    """Runs each task in this process when its value is first needed.

    Args:
        check: called before every task; may raise to stop.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check

    def put(self, value: Any) -> Handle:
        """The value itself."""
        return value

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:
        """A task that has not run yet."""
        return _Task(function, arguments)

    def completed(self, handles: Sequence[Handle]) -> Iterator[tuple[int, Any]]:
        """Run the tasks in order."""
        for position, handle in enumerate(handles):
            self._check()
            yield position, handle.value


class _Task:
    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments

    @cached_property
    def value(self) -> Any:
        values = (argument.value if isinstance(argument, _Task) else argument for argument in self._arguments)
        return self._function(*values)
