"""The result of an evaluation as tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hmdc_ray.cli.tables import print_table
from hmdc_ray.evaluation.report import Evaluation, Row, SetComparison
from hmdc_ray.evaluation.statistics import Summary

ABSENT = "–"

Column = tuple[str, Callable[[Row], Summary | None]]


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the tables of :func:`tables`, and why accuracies are missing."""
    for each in tables(evaluation):
        print_table(console, each)
    for row in evaluation.rows:
        if row.problem:
            console.print(Text(row.problem, style="yellow"), soft_wrap=True)


def tables(evaluation: Evaluation) -> list[Table]:
    """The table of accuracies and, for several condensed sets, those that tell which architectures
    differ significantly.

    They are to be printed by :func:`hmdc_ray.cli.tables.print_table`, which cuts nothing.
    """
    return [_accuracies(evaluation), *map(_differences, evaluation.comparison)]


def _accuracies(evaluation: Evaluation) -> Table:
    """Accuracies in %, each as mean ± half its 95 % interval (no interval for one seed), and the
    gain over random images.

    The last line, where there are several students, is the mean over them.
    """
    images = f"{evaluation.ipc} stored image{'s' if evaluation.ipc > 1 else ''} per class"
    if len({entry.ipc for entry in evaluation.sets}) > 1:
        images += f" ({escape(evaluation.sets[0].name)})"
    built = Table(title=f"Accuracy on the {evaluation.split} split in %, {images}", caption=_caption(evaluation))
    built.add_column("architecture", no_wrap=True)
    built.add_column("in pool", justify="center", no_wrap=True)
    columns = _columns(evaluation)
    for name, _ in columns:
        built.add_column(escape(name), justify="right", no_wrap=True)
    built.add_column("gain", justify="right", no_wrap=True)
    for row in evaluation.rows:
        in_pool = "?" if row.in_pool is None else "yes" if row.in_pool else "no"
        built.add_row(escape(row.architecture), in_pool, *(_cell(of(row)) for _, of in columns), _gain([row]))
    if len(evaluation.rows) > 1:
        built.add_section()
        means = (_mean_cell([of(row) for row in evaluation.rows]) for _, of in columns)
        built.add_row("mean", "", *means, _gain(evaluation.rows))
    return built


def _columns(evaluation: Evaluation) -> list[Column]:
    columns: list[Column] = [("random", lambda row: row.random), ("k-means", lambda row: row.kmeans)]
    if evaluation.formation > 1 and any(row.random_count or row.kmeans_count for row in evaluation.rows):
        tiles = f"×{evaluation.formation**2}"
        columns += [(f"random {tiles}", lambda row: row.random_count), (f"k-means {tiles}", lambda row: row.kmeans_count)]
    if any(row.whole_data for row in evaluation.rows):
        columns.append(("whole data", lambda row: row.whole_data))
    if len(evaluation.sets) < 2:
        return [*columns, ("condensed", lambda row: row.condensed)]

    def of(summaries: Mapping[str, Summary | None]) -> Callable[[Row], Summary | None]:
        return lambda row: summaries[row.architecture]

    return [*columns, *((entry.name, of(entry.summaries)) for entry in evaluation.sets)]


def _caption(evaluation: Evaluation) -> str:
    several = evaluation.seeds > 1
    parts = [f"mean ± half the 95 % interval of {evaluation.seeds} seeds" if several else "one seed, so no interval"]
    if evaluation.formation > 1 and any(row.random_count or row.kmeans_count for row in evaluation.rows):
        parts.append(f"×{evaluation.formation**2}: as many real images as training images are decoded")
    if any(row.random for row in evaluation.rows):
        of = f" of {escape(evaluation.sets[0].name)}" if len(evaluation.sets) > 1 else ""
        parts.append(f"gain{of} in points over random real images")
    return "; ".join(parts)


def _differences(comparison: SetComparison) -> Table:
    built = Table(
        title=f"{escape(comparison.second)} against {escape(comparison.first)}: difference in points",
        caption="students paired by seed; intervals of 95 % and p corrected for the number of architectures",
    )
    built.add_column("architecture", no_wrap=True)
    for name in ("difference", "interval", "p", "significant"):
        built.add_column(name, justify="right", no_wrap=True)
    for each in comparison.architectures:
        built.add_row(
            escape(each.architecture),
            f"{100 * each.difference:+.1f}",
            f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
            f"{each.p_corrected:.3f}" if each.p_corrected >= 0.001 else "< 0.001",
            f"[{'green' if each.difference > 0 else 'red'}]yes[/]" if each.significant else "no",
        )
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
    gains = [100 * (row.condensed.mean - row.random.mean) for row in rows if row.condensed and row.random]
    if not gains:
        return ABSENT
    mean = sum(gains) / len(gains)
    return f"[{'green' if mean > 0 else 'red'}]{mean:+.1f}[/]"
