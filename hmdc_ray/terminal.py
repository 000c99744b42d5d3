"""The course of a run on a terminal: a bar with rate and time left; plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.table import table

PLAIN_SECONDS = 10.0
"""Seconds between two lines where there is no terminal."""


class _Rate(ProgressColumn):
    """Steps per second, or seconds per step when they are slow."""

    def render(self, task: Task) -> Text:
        speed = task.speed or 0.0
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="progress.data.speed")


class TerminalProgress:
    """Shows a run on a console; to be used as a context manager, so that the bar is taken away at the end.

    Args:
        console: where to; a console that is no terminal gets plain lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, detail="")
        self._start = monotonic()
        self._last_line = 0.0
        self._warned: set[str] = set()

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        """Name the part of the run that begins."""
        self._bar.reset(self._task, description=text, total=None, detail="")
        self._last_line = 0.0
        if not self._console.is_terminal:
            self._line(text)

    def images_decoded(self, done: int, total: int) -> None:
        """Advance while source images are decoded."""
        self._advance("decoding images", done, total)

    def step(self, done: int, total: int, metrics: Mapping[str, float], left_out: Mapping[str, int]) -> None:
        """Advance by an image step; show losses and GBM weights, and warn once of a target that was left out."""
        self._advance("condensing", done, total, _detail(metrics))
        for target, classes in left_out.items():
            if target not in self._warned:
                self._warned.add(target)
                self._console.print(
                    f"[yellow]step {done}: {target} is left out in {classes} classes, its gradient is zero or not finite"
                )

    def trial(self, done: int, total: int) -> None:
        """Advance by a trained student."""
        self._advance("evaluating students", done, total)

    def result(self, evaluation: Evaluation) -> None:
        """Show the table of accuracies."""
        self._bar.stop()
        self._console.print(table(evaluation))

    def _advance(self, text: str, done: int, total: int, detail: str = "") -> None:
        self._bar.update(self._task, description=text, completed=done, total=total, detail=detail)
        if not self._console.is_terminal and (done == total or monotonic() - self._last_line > PLAIN_SECONDS):
            self._last_line = monotonic()
            self._line(f"{text} {done}/{total} {detail}".rstrip())

    def _line(self, text: str) -> None:
        self._console.print(f"{monotonic() - self._start:7.1f} s  {text}", highlight=False, soft_wrap=True)


def _detail(metrics: Mapping[str, float]) -> str:
    """Matching loss and GBM weight of every target, such as ``vit 13.2 x0.08``."""
    parts = []
    for name, weight in metrics.items():
        if name.startswith("gbm/weight_"):
            target = name.removeprefix("gbm/weight_")
            loss = metrics.get(f"loss/{target}_classification", metrics.get(f"loss/{target}"))
            parts.append(f"{target} {'' if loss is None else f'{loss:.3g} '}×{weight:.2g}")
    return "loss ×weight: " + ", ".join(parts) if parts else ""
