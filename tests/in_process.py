"""Tasks of an evaluation in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any


class InProcess:
    """Runs each task in this process when its value is first needed.

    Args:
        check: called before every task; may raise to stop.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check

    def put(self, value: Any) -> Any:
        """The value itself."""
        return value

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A task that has not run yet."""
        return _Task(function, arguments)

    def completed(self, handles: Sequence[Any]) -> Iterator[tuple[int, Any]]:
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
