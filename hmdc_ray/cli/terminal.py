"""The progress of a run on a terminal: a bar with rate and time left; plain lines where there is no
terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from hmdc_ray.data.schema import DatasetInfo
    from hmdc_ray.evaluation.report import Evaluation

PLAIN_SECONDS = 10.0
"""Seconds between two lines where there is no terminal."""


class _Pace(ProgressColumn):
    """How far a phase is, its mean rate, its time so far, and the time left, which Rich cannot tell
    of slow steps."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        if task.total is None:
            return Text(_clock(elapsed))
        parts = [f"{task.completed:.0f}/{task.total:.0f}", _clock(elapsed)]
        done = task.completed - task.fields["before"]
        if done > 0 and elapsed > 0:
            rate = done / elapsed
            parts.insert(1, f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
            parts.append(f"{_clock((task.total - task.completed) / rate)} left")
        return Text("  ".join(parts))


class TerminalProgress:
    """Shows a run on a console; to be used as a context manager, so that the bar is taken away at
    the end.

    On a terminal each phase that has ended leaves a line, with its name and seconds.

    Args:
        console: console to print on; one that is no terminal gets plain lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),  # moves to and fro where the total is not known
            _Pace(),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._start = monotonic()
        self._steps: tuple[int, int] | None = None
        self._task = TaskID(0)
        self._warned: set[str] = set()
        self._begin("starting")

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self._end()
        self._bar.stop()

    @property
    def position(self) -> str:
        """Where the run is, in words that follow 'stopped': ``after step 791 of 1000``, or
        ``while starting Ray``."""
        return f"after step {self._steps[0]} of {self._steps[1]}" if self._steps else f"while {self._phase}"

    def stage(self, text: str) -> None:
        """Name the part of the run that begins."""
        self._end()
        self._begin(text)
        if not self._console.is_terminal:
            self._line(text)

    def images_decoded(self, done: int, total: int) -> None:
        """Advance while source images are decoded."""
        self._advance("decoding images", done, total)

    def data(self, info: DatasetInfo) -> None:
        """Show in a line how the source was read, and what was left out or assumed."""
        from hmdc_ray.data.description import notes, summary  # torch is imported with it, which takes seconds

        self._console.print(f"data        {summary(info)}", highlight=False, markup=False, soft_wrap=True)
        for text in notes(info):
            self.note(text)

    def note(self, text: str) -> None:
        """Show what was chosen or assumed on a line."""
        self._console.print(f"note        {text}", highlight=False, markup=False, soft_wrap=True)

    def resources(self, text: str) -> None:
        """Show which machines are used on a line."""
        self._console.print(f"resources   {text}", highlight=False, markup=False, soft_wrap=True)

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        """Advance by an image step; show losses and GBM weights, and warn once of a target that was
        left out."""
        if self._steps is None and done > 1:
            self._bar.update(self._task, before=done - 1)
            self._console.print(f"resuming from step {done - 1} of {total}", highlight=False)
        self._steps = done, total
        self._advance("condensing", done, total, _detail(metrics))
        for target, classes in left_out.items():
            if target not in self._warned:
                self._warned.add(target)
                self._console.print(
                    f"step {done}: {target} is left out in {classes} classes, its gradient is zero or not finite,"
                    " or its loss jumped",
                    style="yellow",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

    def trouble(self, text: str) -> None:
        """Show what went wrong above the bar."""
        self._console.print(f"[yellow]{escape(text)}", highlight=False, soft_wrap=True)

    def trial(self, done: int, total: int) -> None:
        """Advance by a trained student."""
        self._advance("evaluating students", done, total)

    def epoch(self, name: str, done: int, total: int) -> None:
        """Advance by an epoch of a network in pre-training."""
        self._advance(f"training {name}, epoch", done, total)

    def result(self, evaluation: Evaluation) -> None:
        """Show the table of accuracies."""
        from hmdc_ray.cli.evaluation_table import print_evaluation  # torch is imported with it, which takes seconds

        self._end()
        self._bar.stop()
        print_evaluation(self._console, evaluation)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._steps = None
        self._last_line = 0.0
        self._task = self._bar.add_task(phase, total=None, before=0, detail="")

    def _end(self) -> None:
        """Replace the bar of the phase by a line; harmless when repeated."""
        for task in self._bar.tasks:
            self._bar.remove_task(task.id)
            if self._console.is_terminal and self._phase != "starting":
                self._console.print(f"{task.elapsed or 0.0:7.1f} s  {self._phase}", style="dim", highlight=False)

    def _advance(self, text: str, done: int, total: int, detail: str = "") -> None:
        self._bar.update(self._task, description=text, completed=done, total=total, detail=detail)
        if not self._console.is_terminal and (done == total or monotonic() - self._last_line > PLAIN_SECONDS):
            self._last_line = monotonic()
            self._line(f"{text} {done}/{total} {detail}".rstrip())

    def _line(self, text: str) -> None:
        self._console.print(f"{monotonic() - self._start:7.1f} s  {text}", highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


def _detail(metrics: Mapping[str, float]) -> str:
    """Matching loss and GBM weight of every target, such as ``vit 13.2 x0.08``."""
    parts = []
    for name, weight in metrics.items():
        if name.startswith("gbm/weight_"):
            target = name.removeprefix("gbm/weight_")
            loss = metrics.get(f"loss/{target}_classification", metrics.get(f"loss/{target}"))
            parts.append(f"{target} {'' if loss is None else f'{loss:.3g} '}×{weight:.2g}")
    return "loss ×weight: " + ", ".join(parts) if parts else ""
