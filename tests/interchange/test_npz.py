"""Sets as NumPy's ``.npz``."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import GREY, grey_images, make_set, refused, saved


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


def test_numpy_reads_the_export(tmp_path: Path) -> None:
    condensed = make_set()
    export_set(condensed, tmp_path / "npz", "npz")
    with np.load(tmp_path / "npz") as file:
        assert np.array_equal(file["images"], condensed.images.numpy()) and json.loads(str(file["metadata"]))["formation"] == 2


def test_files_without_images_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    np.savez(tmp_path / "y.npz", images=np.array(["a"]))

    refused(tmp_path / "x.npz", "npz", "holds neither a tensor of images.*: it has 'weights'")
    refused(tmp_path / "y.npz", "npz", "holds <U1, must be numbers")
