"""The result of an evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hmdc_ray.evaluation.report import Evaluation, Row
from hmdc_ray.evaluation.statistics import Summary

ABSENT = "–"


def table(evaluation: Evaluation) -> Table:
    """Accuracies in %, each as mean ± half its 95 % interval (no interval for one seed), and the gain over random images.

    The last line, where there are several students, is the mean over them.
    """
    seeds = f"{evaluation.seeds} seed{'s' if evaluation.seeds > 1 else ''}"
    images = f"{evaluation.ipc} stored image{'s' if evaluation.ipc > 1 else ''} per class"
    built = Table(
        title=f"Accuracy on the {evaluation.split} split in %, {images}",
        caption=f"mean ± half the 95 % interval of {seeds}; gain in points over random real images",
    )
    built.add_column("architecture", no_wrap=True)
    built.add_column("in pool", justify="center")
    for name in ("random", "k-means", "condensed"):
        built.add_column(name, justify="right", no_wrap=True)
    built.add_column("gain", justify="right", no_wrap=True)
    for row in evaluation.rows:
        in_pool = "?" if row.in_pool is None else "yes" if row.in_pool else "no"
        built.add_row(row.architecture, in_pool, _cell(row.random), _cell(row.kmeans), _cell(row.condensed), _gain([row]))
    if len(evaluation.rows) > 1:
        columns = zip(*((row.random, row.kmeans, row.condensed) for row in evaluation.rows), strict=True)
        built.add_section()
        built.add_row("mean", "", *(_mean_cell(column) for column in columns), _gain(evaluation.rows))
    return built


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ABSENT
    half = summary.half_interval
    return f"{100 * summary.mean:.1f}" if half is None else f"{100 * summary.mean:.1f} ± {100 * half:.1f}"


def _mean_cell(summaries: Sequence[Summary | None]) -> str:
    means = [summary.mean for summary in summaries if summary is not None]
    return f"{100 * sum(means) / len(means):.1f}" if means else ABSENT


def _gain(rows: Sequence[Row]) -> str:
    gains = [100 * (row.condensed.mean - row.random.mean) for row in rows if row.random is not None]
    if not gains:
        return ABSENT
    mean = sum(gains) / len(gains)
    return f"[{'green' if mean > 0 else 'red'}]{mean:+.1f}[/]"
