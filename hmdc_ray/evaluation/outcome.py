"""The outcome of a trial: an accuracy, or the reason why there is none."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hmdc_ray.errors import DivergedError, InputError, RunError, first_line


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for a missing value, in place of that value.

    Attributes:
        reason: one line that says what was tried and what happened.
        traceback: traceback of an error that may be in a program, such as a user's network; else
            empty.
    """

    reason: str
    traceback: str = ""


Outcome = float | Failure
"""An accuracy in [0, 1], or the failure."""


def attempt(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, or a :class:`Failure`: its own, or the one among its arguments.
    Interrupts are let through.

    Args:
        what: start of the reason, such as "student 'mlp' on random images, seed 0".
        function: function to call.
        arguments: arguments of the function.
    """
    for argument in arguments:
        if isinstance(argument, Failure):
            return argument
    try:
        return function(*arguments)
    except DivergedError as error:  # its message names what diverged
        return Failure(str(error))
    except (InputError, RunError) as error:
        return Failure(f"{what}: {error}")
    except Exception as error:
        said = first_line(error)
        kind = type(error).__name__
        return Failure(f"{what}: {kind}" + (f": {said}" if said != kind else ""), tracebacks.format_exc())
