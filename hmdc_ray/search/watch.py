"""The driver while trials run: reports rungs, checks for a request to stop, and gives up when no
trial can start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial

from hmdc_ray.errors import InputError
from hmdc_ray.search.records import RungRecord
from hmdc_ray.search.settings import WHOLE
from hmdc_ray.search.trial_names import trial_number


class SearchProgress(Protocol):
    """Receives the progress of a search."""

    def stage(self, text: str) -> None:
        """A new part of the search begins."""

    def rung(self, number: int, trials: int, record: RungRecord) -> None:
        """A trial, ``number`` from 1 to ``trials``, has been judged at a rung."""

    def stopped(self, number: int, trials: int) -> None:
        """The scheduler ends a trial before its last rung."""

    def failure(self, number: int, trials: int, reason: str, retried: bool) -> None:
        """A trial's processes have failed; ``retried`` says whether it is tried again."""


@dataclass
class Listener:
    """What a search's :class:`Watch` needs and Ray must not store.

    Attributes:
        progress: receiver of the search's progress.
        check: called several times a second; may raise to stop.
        trials: number of trials of the search.
        start_timeout: seconds that trials may wait while none runs.
        waiting_since: monotonic time in seconds since which trials wait and none runs; None while
            one runs.
    """

    progress: SearchProgress
    check: Callable[[], None]
    trials: int
    start_timeout: float
    waiting_since: float | None = field(default=None)


_LISTENER: ContextVar[Listener] = ContextVar("listener")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, let watches of this thread report to the listener."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Watch(Callback):
    """Ray Tune's callback of a search. It has no state, because Ray Tune stores it with the search
    and restores it."""

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Stop when asked to, or when trials have waited for their resources too long."""
        listener = _LISTENER.get()
        listener.check()
        statuses = {trial.status for trial in trials}
        if Trial.RUNNING in statuses or Trial.PENDING not in statuses:
            listener.waiting_since = None
        elif listener.waiting_since is None:
            listener.waiting_since = monotonic()
        elif monotonic() - listener.waiting_since > listener.start_timeout:
            raise InputError(
                f"no trial could start within cluster.start_timeout {listener.start_timeout:g} s: what a trial asks for is not "
                "free, or its process does not start; see the resources with 'ray status'"
            )

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        """Report a rung."""
        listener = _LISTENER.get()
        listener.progress.rung(trial_number(trial), listener.trials, rung_records(result)[-1])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report a trial that ends before its last rung."""
        listener = _LISTENER.get()
        records = rung_records(trial.last_result or {})
        if records and records[-1].fidelity < WHOLE:
            listener.progress.stopped(trial_number(trial), listener.trials)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report a failure after which the trial is tried again."""
        self._tell_of_failure(trial, retried=True)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Report the last failure."""
        self._tell_of_failure(trial, retried=False)

    def _tell_of_failure(self, trial: Trial, retried: bool) -> None:
        listener = _LISTENER.get()
        listener.progress.failure(trial_number(trial), listener.trials, reason_of(trial), retried)


def rung_records(result: Mapping[str, Any]) -> tuple[RungRecord, ...]:
    """The rungs in a trial's last report; none where it has not reported yet."""
    return tuple(RungRecord(**record) for record in json.loads(result.get("rungs", "[]")))


def reason_of(trial: Trial) -> str:
    """The last line of a trial's last error."""
    return last_line(trial.get_error())


def last_line(error: BaseException | None) -> str:
    """The last line of an error's text, which in a remote one follows the traceback."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "unknown reason"
