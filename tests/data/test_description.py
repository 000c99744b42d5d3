"""How a data set was read is told in words."""

from __future__ import annotations

from dataclasses import replace

from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.description import describe, notes, span, summary, with_number
from hmdc_ray.data.schema import Origin, Split


def test_files_columns_and_counts_are_told(three_digits: ImageDataset) -> None:
    origin = Origin({"train": 2, "validation": 0, "test": 1}, ("validation",), "image", "label", notes=("left out: 3",))
    sizes: dict[Split, int] = {"train": 1040, "validation": 8, "test": 20}
    info = replace(three_digits.info, source="in", fingerprint="f", sizes=sizes, class_sizes=(500, 340, 200), origin=origin)
    assert describe(info) == [
        ("data", "in (fingerprint f)"),
        ("", "files: 2 train, 0 validation, 1 test; validation cut from the training images, always the same ones"),
        ("", "images from column 'image', labels from 'label'"),
        ("", "images: 1,040 train, 8 validation, 20 test"),
        ("", "1x8x8 (channels x height x width)"),
        ("classes", "3: 0, 1, 2"),
        ("", "training images: 200 (2) to 500 (0) of a class"),
        ("note", "left out: 3"),
    ]
    assert summary(info) == "in: 3 classes, 1,040 train, 8 validation, 20 test images, labels from column 'label'"
    assert notes(replace(info, statistics_note="by default")) == ("left out: 3", "by default")


def test_the_first_ten_classes_are_named() -> None:
    assert with_number("abcdefghijk") == "11: a, b, c, d, e, f, g, h, i, j, .."
    assert span("ab", (1000, 1000)) == "1,000 of each class"
