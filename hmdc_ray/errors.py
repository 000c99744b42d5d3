"""Errors that are reported in one line; every other exception is a programming error and keeps its
traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: a configuration field, a file, an image.

    The message is one line that names the field or file, quotes the value, and says what would be
    right. Command-line programs print it and exit with code 2, without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class RunError(RuntimeError):
    """A run that cannot continue, through no fault of its input: a process died, or did not answer.

    The message is one line that says what happened and what to do. Command-line programs print it
    and exit with code 1.
    """


class LostProcessError(RunError):
    """A process of the pool died, does not answer, or took a result with it; its state can be
    restored from a cut."""


class DivergedError(RunError):
    """A training whose loss became infinite or NaN with these images, this network and this
    learning rate."""


class StudentError(RunError):
    """A student whose training failed, so that its accuracy is missing."""


def first_line(error: BaseException) -> str:
    """First line of an error's message; the name of its class if the message is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def listed(names: Iterable[object], most: int = 10) -> str:
    """Names for a message: the first ``most``, each cut to 60 characters, and the number of the
    rest."""
    texts = [str(name) for name in names]
    shown = [text if len(text) <= 60 else f"{text[:57]}..." for text in texts[:most]]
    return ", ".join(shown) + (f" and {len(texts) - most} more" if len(texts) > most else "")


class DeadEndError(RunError):
    """A run that would fail in the same way from its last checkpoint, whatever may be changed: it
    must start anew."""


def mark_resumable(error: BaseException) -> None:
    """Mark an error that ends a run, and is raised again: the run's folder has a checkpoint to
    resume from."""
    if not isinstance(error, DeadEndError):
        error.__dict__["resumable"] = True


def is_resumable(error: BaseException) -> bool:
    """Whether :func:`mark_resumable` has marked the error."""
    return bool(getattr(error, "resumable", False))


def closest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the closest known one, or the whole list if none is close.

    Args:
        name: the name as the user wrote it.
        known: names that exist.

    Returns:
        ``did you mean 'x'?`` or ``known: a, b, c``.
    """
    names = sorted(known)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(names)}"
