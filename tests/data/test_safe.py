"""What files of ``torch.save`` may hold: numbers of NumPy beside tensors, by the names of NumPy 1
and 2; nothing that runs."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from hmdc_ray.data.safe import load_torch
from hmdc_ray.errors import InputError

NUMBERS = [
    *(kind(1) for kind in (np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128, np.bool_)),
    *(kind(1) for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.longlong)),
    np.array(1, ">f4")[()],
]
TYPES = [np.float32, np.int64, np.bool_, np.dtype("float16"), np.dtype(">i4"), np.dtype(bool)]


def renamed(path: Path, old: bytes, new: bytes) -> Path:
    """The file of ``torch.save`` with a name in its pickle replaced by one of the same meaning in
    another NumPy."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(content, "w") as target:
        for member in source.infolist():
            target.writestr(member, source.read(member).replace(old, new))
    path.write_bytes(content.getvalue())
    return path


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: f"{type(value).__name__}-{value.dtype.byteorder}")
def test_numbers_of_numpy_1_and_2(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    torch.save({"images": torch.ones(2), "accuracy": value}, path)
    for _ in range(2):
        loaded = load_torch(path)
        assert loaded["accuracy"] == value and loaded["accuracy"].dtype == value.dtype
        assert torch.equal(loaded["images"], torch.ones(2))
        renamed(path, b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.mark.parametrize("value", TYPES, ids=str)
def test_types_of_numbers(value: Any, tmp_path: Path) -> None:
    torch.save({"dtype": value}, tmp_path / "t.pt")
    assert load_torch(tmp_path / "t.pt")["dtype"] == value
    assert load_torch(renamed(tmp_path / "t.pt", b"cnumpy\nbool\n", b"cnumpy\nbool_\n"))["dtype"] == value


def test_files_of_before_the_zip_format(tmp_path: Path) -> None:
    torch.save([torch.ones(2), np.float32(0.25)], tmp_path / "t.pt", _use_new_zipfile_serialization=False)
    assert load_torch(tmp_path / "t.pt")[1] == np.float32(0.25)


class OtherDataset(Dataset[int]):
    def __len__(self) -> int:
        return 1


def test_a_tensor_dataset_and_no_other(tmp_path: Path) -> None:
    torch.save(TensorDataset(torch.ones(2), torch.arange(2)), tmp_path / "t.pt")
    torch.save(OtherDataset(), tmp_path / "other.pt")

    assert torch.equal(load_torch(tmp_path / "t.pt").tensors[1], torch.arange(2))
    with pytest.raises(InputError, match=r"other\.pt asks for '.*OtherDataset', only tensors and numbers are read"):
        load_torch(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([1.0]), "asks for 'numpy._core.multiarray._reconstruct', only tensors and numbers are read"),
        (np.str_("a"), "cannot be read as a file of torch.save: UnpicklingError: .* but got <class 'numpy.dtypes.StrDType'>"),
        (np.datetime64("2020"), "cannot be read .* but got <class 'numpy.dtypes.DateTime64DType'>"),
    ],
    ids=["array", "text", "date"],
)
def test_other_values_of_numpy_are_refused_with_torchs_own_reason(value: Any, reason: str, tmp_path: Path) -> None:
    torch.save({"accuracy": value}, tmp_path / "t.pt")
    with pytest.raises(InputError, match=rf"t\.pt {reason}") as caught:
        load_torch(tmp_path / "t.pt")
    assert not re.search("weights_only|trust", str(caught.value)), "torch advises to trust the file"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EOFError: it ends too early"),
        (b"\x89PNG\r\n", "UnpicklingError: .+"),
        (pickle.dumps({"a": 1}, 2), "RuntimeError: Invalid magic number"),
    ],
    ids=["empty", "picture", "pickle"],
)
def test_other_files_are_refused_with_torchs_own_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "t.pt").write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.pt cannot be read as a file of torch\.save: {reason}"):
        load_torch(tmp_path / "t.pt")
