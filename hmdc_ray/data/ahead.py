"""Work done ahead in threads by a reader that may be left before its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 2


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = _THREADS) -> Iterator[Result]:
    """Results in the order of the items, computed by two threads while earlier ones are used.

    Args:
        function: function to call; its threads run at the same time where it frees the interpreter,
            as Pillow's decoding does.
        items: arguments, one at a time, fetched by the thread that asks for results.
        ahead: number of results, or of calls, that may wait.

    Raises:
        Exception: whatever ``function`` or ``items`` raises, in its turn.
    """
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ahead")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Without waiting for the threads: a reader that an exception left is closed by the garbage
        # collector, in whatever thread it runs, maybe one that is itself starting a thread. That
        # one holds a lock that ending threads need.
        pool.shutdown(wait=False, cancel_futures=True)
