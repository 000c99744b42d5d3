"""Encoded images come into Parquet files bit for bit, with what was found on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hmdc_ray.data.encoded import (
    EncodedImages,
    EncodedSplit,
    Findings,
    NamedImage,
    open_writer,
    prepared_notes,
    prepared_source,
    write_findings,
    write_split,
)


def test_images_and_findings_are_in_the_file_without_those_skipped(tmp_path: Path) -> None:
    images: list[NamedImage | None] = [("a.png", b"first"), None, ("c.png", b"third")]
    data = EncodedImages(("ant", "bee"), {"train": EncodedSplit(np.array([1, 1, 0]), images)}, findings=Findings(("taken",)))
    data.findings.skip("b.png", "broken")
    read: list[int] = []
    with open_writer(tmp_path, data, "train") as writer:
        assert write_split(writer, data, "train", read.append).tolist() == [1, 1]
        write_findings(writer, data, "torchvision:MNIST")
    (path,) = tmp_path.iterdir()
    table, stored = pq.read_table(path), pq.ParquetFile(path).metadata.metadata
    assert table["label"].to_pylist() == [1, 0] and sum(read) == 3
    assert table["image"].to_pylist() == [{"bytes": b"first", "path": "a.png"}, {"bytes": b"third", "path": "c.png"}]
    assert prepared_notes(stored) == ("taken", "broken images, left out: 1 (b.png: broken)")
    assert prepared_source(stored) == "mnist" and prepared_source({}) is None


def test_the_most_frequent_findings_come_first_and_some_are_named() -> None:
    found = Findings(("taken",))
    found.left_out.update({"links": 1, "texts": 2000})
    found.treated["scaled"] += 3
    for number in range(1001):
        found.skip(f"{number}.png", "cut short")
    assert found.lines() == (
        "taken",
        "texts, left out: 2,000",
        "links, left out: 1",
        "scaled: 3",
        "broken images, left out: 1,001 (0.png: cut short; 1.png: cut short; 2.png: cut short; ..)",
    )
    assert len(found.broken) == 1000
