"""The switch between layers made for gradient matching and torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_plain = ContextVar("plain", default=False)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Networks that are made in the block keep torch's own layers, and aligners that run in it pool
    with torch's kernel.

    For measurements, and tests of our layers against torch's.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether torch's own layers are asked for."""
    return _plain.get()
