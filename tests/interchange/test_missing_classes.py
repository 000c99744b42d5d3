"""Sets in which a class has no image: names say how many classes there are, else the highest label, and that is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from hmdc_ray.condensed import load_condensed, save_condensed
from hmdc_ray.errors import InputError
from hmdc_ray.figures.image_grid import image_grid
from hmdc_ray.interchange.catalogue import EXPORTS
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_file, import_set
from interchange.sets import GREY, STATED, assert_same, grey_images, make_set, saved

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAMED = ImportOptions(statistics=GREY, class_names=DIGITS)


def dc_file(path: Path, labels: list[int]) -> Path:
    return saved(path, {"data": [[grey_images(len(labels)), torch.tensor(labels)]]})


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (
            [3, 5, 5],
            6,
            "6 classes, from the highest label; classes 0, 1, 2, 4 have no image; give --class-names if there are more",
        ),
        ([1], 2, "2 classes, from the highest label; class 0 has no image; give --class-names if there are more"),
        ([0, 40], 41, "classes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 29 more have no image; give --class-names"),
        ([1, 0], 2, "2 classes, from the highest label; give --class-names if there are more"),
    ],
)
def test_without_names_the_highest_label_counts(labels: list[int], classes: int, said: str, tmp_path: Path) -> None:
    imported = import_set(dc_file(tmp_path / "res.pt", labels), "dc", STATED)

    assert imported.condensed.labels.tolist() == labels
    assert imported.condensed.class_names == tuple(map(str, range(classes)))
    assert said in imported.assumed


@pytest.mark.parametrize("labels", [[3, 5], [9, 9, 0], [4]])
def test_names_decide(labels: list[int], tmp_path: Path) -> None:
    imported = import_set(dc_file(tmp_path / "res.pt", labels), "dc", NAMED)

    assert imported.condensed.class_names == DIGITS and imported.condensed.labels.tolist() == labels
    absent = [name for label, name in enumerate(DIGITS) if label not in labels]
    assert f"classes {', '.join(absent)} have no image" in imported.assumed and "highest" not in imported.assumed


def test_a_label_beyond_the_names_is_refused_with_its_value(tmp_path: Path) -> None:
    path = dc_file(tmp_path / "res.pt", [3, 11, 2])
    with pytest.raises(InputError, match=r"res\.pt: .*10 names, but label of row 1 is 11, .* at least 12 classes"):
        import_set(path, "dc", NAMED)


def test_rows_of_hmdcs_code_are_all_its_classes(tmp_path: Path) -> None:
    content = {"synthetic_images": grey_images(6).view(3, 2, 1, 4, 4), "init": "real", "factor": 1}
    path = saved(tmp_path / "s.pth", content)

    assert "highest" not in import_set(path, "hmdc", STATED).assumed
    with pytest.raises(InputError, match="10 names, but the file has 3 classes"):
        import_set(path, "hmdc", NAMED)


def test_folders_of_images_are_classes_of_the_names(tmp_path: Path) -> None:
    for name in ("three", "five"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("L", (4, 4), 99).save(tmp_path / "in" / name / "a.png")

    alone = import_set(tmp_path / "in", "image-folder", STATED).condensed
    assert alone.class_names == ("five", "three") and alone.labels.tolist() == [0, 1]
    named = import_set(tmp_path / "in", "image-folder", NAMED)
    assert named.condensed.class_names == DIGITS and named.condensed.labels.tolist() == [5, 3]
    assert "classes zero, one, two, four, six, seven, eight, nine have no image" in named.assumed
    with pytest.raises(InputError, match=r"--class-names are five, six, but the file says five, three: .* such as 'three'"):
        import_set(tmp_path / "in", "image-folder", ImportOptions(statistics=GREY, class_names=("five", "six")))


@pytest.mark.parametrize("file_format", EXPORTS)
def test_exports_keep_classes_without_images(file_format: str, tmp_path: Path) -> None:
    condensed = make_set(labels=torch.tensor([2, 2, 4, 2, 4, 4]), class_names=tuple("abcdef"), formation=1)
    export_set(condensed, tmp_path / "out", file_format)
    imported = import_set(tmp_path / "out", file_format)
    assert imported.condensed.class_names == condensed.class_names and "classes a, b, d, f have no image" in imported.assumed
    assert imported.condensed.class_counts().tolist() == [0, 0, 3, 0, 3, 0]


def test_such_a_set_is_written_read_and_drawn(tmp_path: Path) -> None:
    target, imported = import_file(dc_file(tmp_path / "res.pt", [3, 5, 5]), tmp_path / "out", "dc", NAMED)
    condensed = load_condensed(target)

    assert_same(condensed, imported.condensed)
    assert condensed.ipc == 2 and condensed.class_counts().tolist() == [0, 0, 0, 1, 0, 2, 0, 0, 0, 0]
    image_grid(condensed, tmp_path / "images.png")
    with Image.open(tmp_path / "images.png") as grid:
        assert min(grid.size) > 50
    save_condensed(tmp_path / "again.parquet", condensed)
