"""Reading ahead: order, errors in their turn, how much waits, and readers that are left before
their end."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from hmdc_ray.data.ahead import map_ahead


def test_results_are_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def square(item: int) -> int:
        if item == 0:  # ends after its successor
            assert second.wait(60)
        if item == 1:
            second.set()
        return item**2

    assert list(map_ahead(square, range(40), ahead=5)) == [item**2 for item in range(40)]
    assert list(map_ahead(square, [])) == []


def test_no_more_items_are_fetched_than_may_wait() -> None:
    fetched: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            fetched.append(item)
            yield item

    for result in map_ahead(abs, items(), ahead=3):
        assert len(fetched) == min(result + 4, 20)


@pytest.mark.parametrize("faulty", ["function", "items"])
def test_errors_come_in_their_turn(faulty: str) -> None:
    def inverse(item: int) -> float:
        return 1 / (item - 3 if faulty == "function" else item + 1)

    def items() -> Iterator[int]:
        yield from range(3)
        yield 3 if faulty == "function" else 1 // 0
        yield 4

    results = map_ahead(inverse, items(), ahead=0)
    assert len([next(results) for _ in range(3)]) == 3
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_reader_that_is_left_waits_for_no_thread() -> None:
    """The collector may close it in a thread that holds what ending threads need, which would be
    waited for without end."""
    may_end, started, called = threading.Event(), threading.Event(), []

    def slow(item: int) -> int:
        called.append(item)
        if item > 0:
            started.set()
            assert may_end.wait(60)
        return item

    results = map_ahead(slow, range(100), ahead=50)
    assert next(results) == 0 and started.wait(60)
    cycle = [results]
    cycle.append(cycle)  # type: ignore[arg-type]
    del results, cycle
    gc.collect()  # closes it, and comes back though calls have not ended
    may_end.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ahead"):
            thread.join(60)
    assert len(called) <= 3  # what no thread had taken was cancelled
