"""Folders of images to look at: what is written, and what is read or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import DIGITS, GREY, METADATA, NAMED, STATED, make_set, refused


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-0.5, 2.0)])
def test_image_folder_keeps_half_a_grey_level(channels: int, value_range: tuple[float, float], tmp_path: Path) -> None:
    condensed = make_set(channels, value_range=value_range)
    export_set(condensed, tmp_path / "folder", "image-folder")

    back = import_set(tmp_path / "folder", "image-folder").condensed

    assert (back.pixels() - condensed.pixels()).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(back.labels, condensed.labels)
    assert {name: getattr(back, name) for name in METADATA} == {name: getattr(condensed, name) for name in METADATA}


def test_image_folder_has_safe_names_and_real_pictures(tmp_path: Path) -> None:
    condensed = make_set()
    export_set(condensed, tmp_path / "folder", "image-folder")

    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["0_cat_dog", "1_hre", "2_class", "index.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with Image.open(tmp_path / "folder/2_class/3.png") as picture:
        shown = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
    assert torch.equal(shown, (condensed.pixels()[3] * 255).round().to(torch.uint8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=100), min_size=1, max_size=12))
def test_no_class_name_leaves_the_folder(names: list[str]) -> None:
    from hmdc_ray.interchange.image_folder import _safe

    for name in names:
        safe = _safe(name)
        assert safe and safe == Path(safe).name and safe.isascii() and set(safe).isdisjoint("/\\.: \0\n") and len(safe) <= 60


def test_plain_image_folder_is_pixels_to_be_normalised(tmp_path: Path) -> None:
    for name, level in (("dog", 51), ("cat", 204)):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("L", (4, 3), level).save(tmp_path / "in" / name / "a.png")

    back = import_set(tmp_path / "in", "image-folder", ImportOptions(statistics=((0.5,), (0.25,)))).condensed

    assert back.class_names == ("cat", "dog") and back.formation == 1 and back.images.shape == (2, 1, 3, 4)
    torch.testing.assert_close(back.images[:, 0, 0, 0], torch.tensor([1.2, -1.2]))


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_set(make_set(), tmp_path / "folder", "image-folder")
    return tmp_path / "folder"


def test_spoilt_exported_folders(folder: Path) -> None:
    index, first = (folder / "index.json").read_text(), folder / "1_hre/0.png"

    for text, message in (
        ("{", r"index\.json, text: Invalid JSON"),
        (json.dumps(json.loads(index) | {"labels": [0]}), "lists 6 files and 1 labels"),
        (json.dumps(json.loads(index) | {"labels": [0, 1, 2, 3, 10**30, 0]}), r"index\.json, labels\.4"),
        (json.dumps(json.loads(index) | {"files": [], "labels": []}), "lists 0 files"),
    ):
        (folder / "index.json").write_text(text)
        refused(folder, "image-folder", message, ImportOptions())
    (folder / "index.json").write_text(index)
    first.write_bytes(b"no picture")
    refused(folder, "image-folder", r"1_hre/0\.png: image cannot be decoded", ImportOptions())
    Image.new("RGB", (5, 6)).save(first)
    refused(
        folder,
        "image-folder",
        r"0_cat_dog/1\.png: is 6 x 4, mode RGB; must be as the first image, 6 x 5, colour",
        ImportOptions(),
    )
    first.unlink()
    refused(folder, "image-folder", r"0\.png does not exist, but index\.json lists it", ImportOptions())


def test_plain_image_folders_that_do_not_fit(tmp_path: Path) -> None:
    refused(tmp_path, "image-folder", "no class folders")
    for name, mode in (("a", "L"), ("b", "RGB")):
        (tmp_path / name).mkdir()
        Image.new(mode, (3, 3), "white").save(tmp_path / name / "x.png")
    refused(tmp_path, "image-folder", r"b/x\.png: is 3 x 3, mode RGB; must be as the first image, 3 x 3, grey")
    for split in ("train", "test"):
        (tmp_path / "splits" / split / "a").mkdir(parents=True)
        Image.new("L", (3, 3)).save(tmp_path / "splits" / split / "a/x.png")
    refused(tmp_path / "splits", "image-folder", "has splits test, train: give the folder of one")


def test_pictures_that_turn_speak_of_no_field_of_a_run(tmp_path: Path) -> None:
    for name, tag in (("a", 6), ("b", 6), ("c", 1)):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = tag
        Image.new("L", (3, 5)).save(tmp_path / name / "x.png", exif=exif)

    refused(tmp_path, "image-folder", r"c/x\.png: is 5 x 3, mode L; must be as the first image, 3 x 5, grey")
    (tmp_path / "c/x.png").unlink()
    (tmp_path / "c").rmdir()
    assert import_set(tmp_path, "image-folder", STATED).condensed.images.shape == (2, 1, 3, 5)


def test_pictures_that_unpack_to_far_more_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bombs/a").mkdir(parents=True)
    Image.new("L", (5000, 5000)).save(tmp_path / "bombs/a/x.png")

    refused(tmp_path / "bombs", "image-folder", "unpacks to 100,000,000 bytes from")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.png", "outside of the folder"),
        ("{root}/secret.png", "outside of the folder"),
        ("0_cat_dog/../../secret.png", "outside of the folder"),
        ("/etc/passwd", "outside of the folder"),
        ("link.png", "outside of the folder"),
        ("circle", "cannot be read|outside|does not exist"),
        ("a\x00b", "cannot be read: embedded null byte"),
        ("x" * 5000, "cannot be read: .*File name too long"),
        ("\ud800", "."),
        ("pipe", "does not exist, but index.json lists it"),
        (".", "does not exist, but index.json lists it"),
    ],
)
def test_an_index_cannot_lead_out_of_its_folder(name: str, message: str, folder: Path) -> None:
    Image.new("RGB", (4, 6)).save(folder.parent / "secret.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    index = json.loads((folder / "index.json").read_text())
    index["files"][0] = name.replace("{root}", str(folder.parent))
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=message) as caught:
        import_set(folder, "image-folder")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
