import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import save_file

from hmdc_ray.condensed import Metadata
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.catalogue import EXPORTS, MEANINGS
from hmdc_ray.interchange.declared import ImportOptions, parse_statistics
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import GREY, STATED, grey_images, make_set, saved

LABELS = torch.tensor([0, 0, 1, 1])
FILES = [name for name in MEANINGS if name not in ("dd-ranking", "image-folder")]


def refused(path: Path, file_format: str, message: str, stated: ImportOptions = STATED) -> None:
    with pytest.raises(InputError, match=message) as caught:
        import_set(path, file_format, stated)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


# Names


def test_unknown_names_are_told_the_closest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--format is 'npy', which is not known: did you mean 'npz'\?"):
        import_set(tmp_path, "npy")
    with pytest.raises(InputError, match=r"--format is 'dd-rank', which is not known: did you mean 'dd-ranking'\?"):
        export_set(make_set(), tmp_path / "x", "dd-rank")
    with pytest.raises(InputError, match="--format is 'dc', which is only imported: known: dd-ranking, image-folder, npz"):
        export_set(make_set(), tmp_path / "x", "dc")
    with pytest.raises(InputError, match=r"--statistics is 'cifar1o', which is not known: did you mean 'cifar10'\?"):
        parse_statistics("cifar1o")
    with pytest.raises(InputError, match=r"--scale is 'pixels', which is not known: did you mean 'pixel'\?"):
        ImportOptions(scale="pixels")
    with pytest.raises(InputError, match="--formation is 0, must be at least 1"):
        ImportOptions(formation=0)


def test_statistics_as_numbers() -> None:
    assert parse_statistics("0.5,0.4,.3:1,2,3e-1") == ((0.5, 0.4, 0.3), (1.0, 2.0, 0.3))
    for text, message in (("0.5:", "must be numbers"), ("a:b", "must be numbers"), ("1:2:3", "must be numbers")):
        with pytest.raises(InputError, match=f"--statistics is '{text}'.*{message}"):
            parse_statistics(text)
    with pytest.raises(InputError, match="2 means, but 1 deviations"):
        parse_statistics("0.5,0.4:1")
    for statistics in (((0.5,), (0.0,)), ((float("nan"),), (1.0,)), ((0.5,), (float("inf"),))):
        with pytest.raises(InputError, match="must be finite, the deviations above 0"):
            ImportOptions(statistics=statistics)


# Files that are not there, broken, or of another kind


@pytest.mark.parametrize("file_format", MEANINGS)
def test_missing_file(file_format: str, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.pt", file_format, r"nowhere\.pt (does not exist|is not there)")


@pytest.mark.parametrize("file_format", [name for name in FILES if name != "mtt"])
def test_folder_where_a_file_is_needed(file_format: str, tmp_path: Path) -> None:
    refused(tmp_path, file_format, "is a folder: give a file")


def test_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"x")
    refused(tmp_path / "x.zip", "image-folder", r"x\.zip is a file: give a folder")
    refused(tmp_path, "dd-ranking", r"images\.pt does not exist")


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt"])
def test_truncated_and_spoilt_files(file_format: str, tmp_path: Path) -> None:
    export_set(make_set(), tmp_path / "whole", file_format)
    whole, path = (tmp_path / "whole").read_bytes(), tmp_path / "broken"
    for data in (b"", b"PK\x03\x04", b"hello", whole[:-1], whole[:-300], whole[: len(whole) // 2], whole[:100] + whole[200:]):
        path.write_bytes(data)
        refused(path, file_format, "broken", ImportOptions())


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt"])
def test_flipped_bytes_never_end_in_another_error(file_format: str, tmp_path: Path) -> None:
    export_set(make_set(1), tmp_path / "whole", file_format)
    whole, path = (tmp_path / "whole").read_bytes(), tmp_path / "broken"
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :])
        try:
            import_set(path, file_format)
        except InputError as error:
            assert "\n" not in str(error)


# Code


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("file_format", ["dc", "hmdc", "idc", "mtt", "tensors", "pt", "dd-ranking"])
def test_code_in_a_pickle_is_refused_and_not_run(file_format: str, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    path = saved(tmp_path / "images.pt", {"data": [], "images": Payload(target)})
    saved(tmp_path / "labels.pt", LABELS)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(Payload(target), protocol=2))

    refused(path, file_format, r"images\.pt asks for 'posix\.mkdir', only tensors and numbers are read")
    refused(plain, file_format, r"plain\.pt")
    refused(path.rename(tmp_path / "t.pt"), "tensors", "asks for", ImportOptions(statistics=GREY, labels=path))
    assert not target.exists()
    pickle.loads(plain.read_bytes())
    assert target.exists(), "the payload would have shown itself"


def test_code_in_labels_and_arrays_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    objects = np.array([Payload(target)], dtype=object)
    np.savez(tmp_path / "x.npz", images=objects, allow_pickle=True)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    saved(tmp_path / "x.pt", Payload(target))
    images = saved(tmp_path / "images.pt", grey_images())

    refused(tmp_path / "x.npz", "npz", r"x\.npz is not an \.npz file of plain arrays: .*Python objects")
    for name in ("x.npy", "x.pt"):
        with pytest.raises(InputError, match=rf"{name}"):
            import_set(images, "tensors", ImportOptions(statistics=GREY, labels=tmp_path / name))

    assert not target.exists()


# Bombs


def test_compressed_zeros_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((5, 1, 2048, 2048), np.float32))
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("loaded"))

    refused(path, "npz", r"bomb\.npz unpacks to 83,886,\d+ bytes from \d+,\d+: refused")


def test_header_beyond_the_data_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1, 4, 4)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    (tmp_path / "x.npy").write_bytes(header.getvalue())

    refused(tmp_path / "x.npz", "npz", r"images\.npy has shape \(1099511627776, 1, 4, 4\), but only \d+ bytes")
    with pytest.raises(InputError, match=r"x\.npy is not an \.npy file"):
        import_set(
            saved(tmp_path / "i.pt", grey_images()), "tensors", ImportOptions(statistics=GREY, labels=tmp_path / "x.npy")
        )


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
def test_tensors_that_repeat_themselves_are_refused(tmp_path: Path) -> None:
    endless = torch.zeros(1, 1, 1, 1).expand(1 << 30, 1, 4, 4)
    sparse = torch.sparse_coo_tensor(torch.zeros(4, 1, dtype=torch.int64), torch.ones(1), (1 << 30, 1, 4, 4))

    refused(saved(tmp_path / "e.pt", [endless, LABELS]), "tensors", r"e\.pt unpacks to 68,719,476,736 bytes")
    refused(saved(tmp_path / "s.pt", [sparse, LABELS]), "tensors", "is a torch.sparse_coo tensor .*, must be an ordinary one")


def test_safetensors_header_beyond_the_data_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"images": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text)

    refused(tmp_path / "x", "safetensors", "is not a file of safetensors")


# Contents that cannot be


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
            [grey_images(), LABELS + 0.5],
            STATED,
            r"torch\.float32 \[4\], must be integers, one an image \(not soft labels\): row 0 is 0\.5",
        ),
        (
            [grey_images(), torch.eye(4).roll(1) * 0.5],
            STATED,
            r"torch\.float32 \[4, 4\], must be integers, .*\(not soft labels\): row 0 is not a single 1 among zeros",
        ),
        ([grey_images(), torch.eye(4)[[0, 1, 2, 2]] + torch.eye(4)], STATED, r"row 0 is not a single 1 among zeros"),
        ([grey_images(), torch.eye(4, dtype=torch.complex64)], STATED, r"torch\.complex64 \[4, 4\], must be integers"),
        ([grey_images(), LABELS.float() / 0], STATED, r"row 0 is nan"),
        ([grey_images(), LABELS.bool()], STATED, r"torch\.bool \[4\], must be integers"),
        ([grey_images(), LABELS - 1], STATED, "label of row 0 is -1, must be 0 to 999999"),
        ([grey_images(), LABELS * 10**6], STATED, "label of row 2 is 1000000, must be 0 to 999999"),
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
        ({"weights": grey_images()}, STATED, "holds neither a tensor of images"),
        ({"images": grey_images(), "labels": 3}, STATED, "labels is int, must be a tensor"),
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


def test_npz_and_safetensors_without_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    save_file({"weights": torch.zeros(3)}, tmp_path / "x.safetensors")
    np.savez(tmp_path / "y.npz", images=np.array(["a"]))

    refused(tmp_path / "x.npz", "npz", "holds neither a tensor of images.*: it has 'weights'")
    refused(tmp_path / "x.safetensors", "safetensors", "holds neither a tensor of images.*: it has 'weights'")
    refused(tmp_path / "y.npz", "npz", "holds <U1, must be numbers")


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


# Image folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_set(make_set(), tmp_path / "folder", "image-folder")
    return tmp_path / "folder"


@pytest.mark.parametrize("name", ["../secret.png", "{root}/secret.png", "0_cat_dog/../../secret.png", "link.png"])
def test_index_cannot_reach_out_of_its_folder(name: str, folder: Path) -> None:
    Image.new("RGB", (4, 6)).save(folder.parent / "secret.png")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    index = json.loads((folder / "index.json").read_text())
    index["files"][0] = name.format(root=folder.parent)
    (folder / "index.json").write_text(json.dumps(index))

    refused(folder, "image-folder", r"secret\.png.*outside of the folder|link\.png.*outside of the folder", ImportOptions())


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


def test_the_tables_agree() -> None:
    assert set(EXPORTS) <= set(MEANINGS)
