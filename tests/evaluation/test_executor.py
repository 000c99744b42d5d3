from collections.abc import Callable
from typing import Any

import pytest

from hmdc_ray.evaluation.executor import InProcess


def test_tasks_run_in_order_when_asked_for_and_once() -> None:
    ran: list[Any] = []

    def noting(value: Any, *others: Any) -> Any:
        ran.append(value)
        return value, *others

    executor = InProcess()
    shared = executor.submit(noting, "shared", executor.put(3))
    tasks = [executor.submit(noting, name, shared) for name in "ab"]
    assert ran == []
    assert list(executor.completed(tasks)) == [(0, ("a", ("shared", 3))), (1, ("b", ("shared", 3)))]
    assert ran == ["shared", "a", "b"]


def test_a_check_before_a_task_may_stop() -> None:
    left = iter((None, KeyboardInterrupt()))

    def check() -> None:
        if error := next(left):
            raise error

    executor = InProcess(check)
    made: Callable[[], int] = int
    completed = executor.completed([executor.submit(made), executor.submit(made)])
    assert next(completed) == (0, 0)
    with pytest.raises(KeyboardInterrupt):
        next(completed)
