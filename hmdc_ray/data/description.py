"""How a data set was read, in words, so that a person sees a mistake before hours of work."""

from __future__ import annotations

from collections.abc import Sequence

from hmdc_ray.data.schema import SPLITS, DatasetInfo, Split

MOST_NAMES = 10


def describe(info: DatasetInfo) -> list[tuple[str, str]]:
    """Lines of a table: a word, and what it stands for; the word is empty where a line continues
    the one before."""
    origin, sizes = info.origin, info.sizes
    rows = [("data", f"{info.source} (fingerprint {info.fingerprint})")]
    if any(origin.files.values()):
        by_split = ", ".join(f"{origin.files[split]} {split}" for split in SPLITS)
        counts = f"{sum(origin.files.values())}" if origin.split_column else by_split
        rows.append(("", f"files: {counts}{_cut(origin.cut)}"))
    if origin.label_column:
        splits = f", splits from {origin.split_column!r}" if origin.split_column else ""
        rows.append(("", f"images from column {origin.image_column!r}, labels from {origin.label_column!r}{splits}"))
    rows += [
        ("", f"images: {', '.join(f'{sizes[split]:,} {split}' for split in SPLITS)}"),
        ("", f"{info.shape} (channels x height x width)"),
        ("classes", with_number(info.class_names)),
        ("", f"training images: {span(info.class_names, info.class_sizes)}"),
    ]
    return rows + [("note", note) for note in notes(info)]


def notes(info: DatasetInfo) -> tuple[str, ...]:
    """What was left out and what was assumed, statistics included, a line each."""
    return info.origin.notes if info.statistics_note is None else (*info.origin.notes, info.statistics_note)


def summary(info: DatasetInfo) -> str:
    """The data set in one line."""
    sizes = ", ".join(f"{info.sizes[split]:,} {split}" for split in SPLITS)
    labels = f", labels from column {info.origin.label_column!r}" if info.origin.label_column else ""
    return f"{info.source}: {len(info.class_names)} classes, {sizes} images{labels}"


def with_number(class_names: Sequence[str]) -> str:
    """The number of classes and the names of the first ten."""
    named = ", ".join(class_names[:MOST_NAMES]) + (", .." if len(class_names) > MOST_NAMES else "")
    return f"{len(class_names)}: {named}"


def span(class_names: Sequence[str], counts: Sequence[int]) -> str:
    """Fewest and most images of a class, each with the first class that has so many."""
    least, most = min(counts), max(counts)
    if least == most:
        return f"{least:,} of each class"
    fewest, largest = class_names[counts.index(least)], class_names[counts.index(most)]
    return f"{least:,} ({fewest}) to {most:,} ({largest}) of a class"


def _cut(cut: Sequence[Split]) -> str:
    """Which splits were cut from the training images."""
    return f"; {' and '.join(cut)} cut from the training images, always the same ones" if cut else ""
