from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.catalogue import MEANINGS
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import GREY, LABELS, Payload, make_set, refused, saved

FILES = [name for name in MEANINGS if name not in ("dd-ranking", "image-folder")]


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
