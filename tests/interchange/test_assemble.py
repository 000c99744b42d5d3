"""Parts of a set are checked against each other and against what is stated; what was assumed is
told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hmdc_ray.condensed import Metadata, load_condensed, save_condensed
from hmdc_ray.data.packing import check_formation
from hmdc_ray.errors import InputError
from hmdc_ray.figures.image_grid import image_grid
from hmdc_ray.interchange.catalogue import EXPORTS
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_file, import_set
from interchange.sets import DIGITS, GREY, LABELS, NAMED, STATED, assert_same, grey_images, make_set, refused, saved


@pytest.mark.parametrize(
    ("content", "stated", "message"),
    [
        ([grey_images(), LABELS], ImportOptions(), "a file does not name its data set: give --statistics, cifar10, .*MEAN"),
        (grey_images(), STATED, "there are no labels in the file: give --labels FILE"),
        (
            [grey_images(), LABELS],
            ImportOptions(statistics=GREY, labels=Path("l.pt")),
            r"--labels is l\.pt, but the file has labels",
        ),
        ([grey_images(), LABELS[:3]], STATED, "labels are 3, must be one for each of 4 images"),
        (
            [grey_images(), torch.eye(4).roll(1) * 0.5],
            STATED,
            r"torch\.float32 \[4, 4\], must be integers, .*\(not soft labels\): row 0 is not a single 1 among zeros",
        ),
        (
            [grey_images(), LABELS * 5],
            ImportOptions(statistics=GREY, class_names=tuple("abcde")),
            "--class-names are a, b, c, d, e: 5 names, but label of row 2 is 5, so that there are at least 6 classes",
        ),
        ([grey_images()[0], LABELS], STATED, r"images have shape \[1, 4, 4\], must be N x C x H x W"),
        ([grey_images()[:0], LABELS[:0]], STATED, "at least one"),
        ([grey_images().long(), LABELS], STATED, r"images are torch\.int64, must be floating point"),
        ([grey_images(8).view(4, 2, 4, 4), LABELS], STATED, "0.5:0.25 are for 1 channels, but images have 2"),
        ([grey_images(), LABELS], ImportOptions(statistics=GREY, formation=3), "3, which does not divide the image size 4x4"),
        (
            [grey_images(), LABELS],
            ImportOptions(statistics=GREY, class_names=("a",)),
            "--class-names are a: 1 names, but .* 2 classes",
        ),
    ],
)
def test_contents_that_do_not_fit(content: Any, stated: ImportOptions, message: str, tmp_path: Path) -> None:
    refused(saved(tmp_path / "t.pt", content), "tensors", message, stated)


@pytest.mark.parametrize(
    ("images", "scale", "message"),
    [
        (grey_images(), "pixel", "images range from -3 to 3, but scale 'pixel' is 0 to 1: is it 'normalised'"),
        (grey_images().sigmoid() * 255, "pixel", "images range from 12.09 to 242.9, but scale 'pixel'"),
        (grey_images().sigmoid(), "normalised", "range from 0.04743 to 0.9526, as pixels do, .*is --scale pixel meant"),
        (grey_images().sigmoid() * 255, "normalised", "range from 12.09 to 242.9, too far for normalised ones.*divided by 255"),
        (grey_images() * 40, None, "range from -120 to 120, too far"),
    ],
)
def test_wrong_scale(images: torch.Tensor, scale: str | None, message: str, tmp_path: Path) -> None:
    refused(saved(tmp_path / "t.pt", [images, LABELS]), "tensors", message, ImportOptions(statistics=GREY, scale=scale))


def test_statements_against_the_format_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "res.pt", {"data": [[grey_images(), LABELS]]})

    refused(path, "dc", "--scale is 'pixel', but .* says 'normalised'", ImportOptions(statistics=GREY, scale="pixel"))
    refused(path, "dc", "--formation is 2, but .* says 1", ImportOptions(statistics=GREY, formation=2))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (ImportOptions(formation=1), "--formation is 1, but the file or its format says 2"),
        (
            ImportOptions(statistics=((0.1, 0.5, 0.3), (0.2, 0.3, 0.7))),
            "--statistics are .*, but the file says .*: leave them out",
        ),
        (ImportOptions(class_names=("a", "b", "c")), "--class-names is .*: leave out --class-names"),
        (ImportOptions(labels=Path("l.pt")), "the file has labels"),
    ],
)
def test_statements_against_an_export_are_refused(stated: ImportOptions, message: str, tmp_path: Path) -> None:
    export_set(make_set(), tmp_path / "x.npz", "npz")
    refused(tmp_path / "x.npz", "npz", message, stated)


def test_exports_with_spoilt_metadata(tmp_path: Path) -> None:
    metadata = Metadata.of(make_set()).model_dump()
    for change, message in (
        ({"shape": (3, 4, 6)}, r"shape \[6, 3, 6, 4\], must be N of \[3, 4, 6\]"),
        ({"std": (0.2, 0.3)}, "channels"),
        ({"class_names": ("a",)}, "label of row 0 is 1, must be 0 to 0"),
        ({"mean": "x"}, "metadata of the condensed set, mean"),
    ):
        content = {"images": make_set().images, "labels": make_set().labels, "metadata": json.dumps(metadata | change)}
        refused(saved(tmp_path / "x.pt", content), "pt", message, ImportOptions())


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


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            ImportOptions(statistics=GREY, formation=3),
            r"--formation is 3, which does not divide the image size 4x4: .*--format idc",
        ),
        (ImportOptions(statistics=GREY, formation=9), "--formation is 9: must be 1 to 8"),
    ],
)
def test_refusals_speak_of_options_of_the_import(stated: ImportOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        import_set(saved(tmp_path / "t.pt", [torch.randn(2, 1, 4, 4), LABELS[1:3]]), "tensors", stated)
    assert "images.formation" not in str(caught.value)
    with pytest.raises(InputError, match=r"images\.formation is 3"):
        check_formation(3, 4, 4)  # a run is configured: there it is the field
