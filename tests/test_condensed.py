import errno
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hmdc_ray.condensed import METADATA_KEY, CondensedSet, load_condensed, save_condensed
from hmdc_ray.data.packing import decode
from hmdc_ray.errors import InputError


def make_set(channels: int = 3, **changes: Any) -> CondensedSet:
    generator = torch.Generator().manual_seed(0)
    fields: dict[str, Any] = {
        "images": torch.randn(4, channels, 6, 4, generator=generator) * 3,
        "labels": torch.tensor([1, 0, 1, 2]),
        "class_names": ("cat", "dog", "Ähre"),
        "mean": (0.1, 0.5, 1 / 3)[:channels],
        "std": (0.2, 0.3, 0.7)[:channels],
        "formation": 2,
        "config": {"seed": 3, "images": {"ipc": 1}},
        "fingerprint": "0123abcd",
    }
    return CondensedSet(**(fields | changes))


def bits(values: torch.Tensor) -> bytes:
    return values.numpy().tobytes()


# The set in memory


def test_items_are_the_decoded_images() -> None:
    condensed = make_set()
    images, labels = condensed.decoded()

    assert torch.equal(images, decode(condensed.images, 2)) and labels.tolist() == [1, 0, 1, 2] * 4
    assert len(condensed) == 16
    for index in (0, 3, 4, 15, -1):
        image, label = condensed[index]
        assert torch.equal(image, images[index]) and label == labels[index]
    with pytest.raises(IndexError):
        condensed[16]


def test_a_data_loader_reads_it() -> None:
    (images, labels), *rest = DataLoader(make_set(), batch_size=10)

    assert images.shape == (10, 3, 6, 4) and labels.dtype == torch.int64 and len(rest) == 1


def test_pixels_are_denormalised_and_clamped() -> None:
    condensed = make_set(channels=1, images=torch.tensor([-9.0, 0.0, 0.5, 9.0]).view(4, 1, 1, 1), formation=1)

    torch.testing.assert_close(condensed.pixels().flatten(), torch.tensor([0.0, 0.1, 0.2, 1.0]))


def test_real_pixels_are_normalised_with_its_statistics() -> None:
    real = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)

    torch.testing.assert_close(make_set().normalise(real).flatten(), torch.tensor([-0.5, 5 / 3, (0.2 - 1 / 3) / 0.7]))


def test_counts() -> None:
    assert make_set().class_counts().tolist() == [1, 2, 1] and make_set().ipc == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([0, 1, 3, 1])}, r"label of row 2 is 3, must be 0 to 2"),
        ({"labels": torch.tensor([0, -1, 0, 1])}, r"label of row 1 is -1"),
        ({"labels": torch.tensor([0, 1])}, r"one for each of 4 images"),
        ({"labels": torch.zeros(4)}, r"must be int64"),
        ({"images": torch.zeros(4, 3, 6, 4, dtype=torch.float64)}, r"must be float32"),
        ({"images": torch.zeros(4, 6, 4)}, r"\(N, C, H, W\)"),
        ({"images": torch.zeros(4, 2, 6, 4)}, r"2 channels, must be 1 \(grey\) or 3"),
        ({"images": torch.zeros(4, 3, 5, 4)}, r"2, which does not divide the image size 5x4"),
        ({"images": torch.full((4, 3, 6, 4), torch.inf)}, r"row 0 are not all finite"),
        ({"mean": (0.1,)}, r"1 and 3 values, must be 3"),
        ({"std": (0.2, 0.0, 0.2)}, r"std above 0"),
        ({"value_range": (1.0, 0.0)}, r"value_range is \(1.0, 0.0\)"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_set(**changes)


# The file


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_is_exact(channels: int, tmp_path: Path) -> None:
    condensed = make_set(channels)
    condensed.images[0, 0, 0, :3] = torch.tensor([-0.0, 1e-42, 3.4e38])

    save_condensed(tmp_path / "run" / "condensed.parquet", condensed)

    for path in (tmp_path / "run", str(tmp_path / "run" / "condensed.parquet")):
        loaded = load_condensed(path)
        assert bits(loaded.images) == bits(condensed.images) and torch.equal(loaded.labels, condensed.labels)
        for name in ("class_names", "mean", "std", "formation", "value_range", "config", "fingerprint", "version"):
            assert getattr(loaded, name) == getattr(condensed, name), name
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["condensed.parquet"]


@pytest.mark.parametrize("channels", [1, 3])
def test_columns_are_those_that_others_rely_on(channels: int, tmp_path: Path) -> None:
    condensed = make_set(channels)
    save_condensed(tmp_path / "c.parquet", condensed)
    table = pq.read_table(tmp_path / "c.parquet")

    assert table.column_names == ["image", "pixels", "label"]
    assert table.schema.field("pixels").type == pa.list_(pa.float32())
    assert table.schema.field("label").type == pa.int64()
    row = table.to_pylist()[2]
    assert np.array(row["pixels"], np.float32).tobytes() == bits(condensed.images[2]) and row["label"] == 1
    with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
        assert picture.format == "PNG" and picture.mode == ("L" if channels == 1 else "RGB")
        shown = np.asarray(picture).reshape(6, 4, channels)
    assert np.array_equal(shown, (condensed.pixels()[2] * 255).round().permute(1, 2, 0).byte().numpy())


def test_hugging_face_features_name_the_classes(tmp_path: Path) -> None:
    save_condensed(tmp_path / "c.parquet", make_set())

    features = json.loads(pq.read_schema(tmp_path / "c.parquet").metadata[b"huggingface"])["info"]["features"]

    assert features["label"] == {"names": ["cat", "dog", "Ähre"], "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "condensed.parquet"
    save_condensed(path, make_set())
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"condensed\.parquet cannot be written: No space left on device"):
        save_condensed(path, make_set(formation=1))

    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["condensed.parquet"]


def broken_table(tmp_path: Path, **columns: pa.Array | None) -> Path:
    path = tmp_path / "condensed.parquet"
    save_condensed(path, make_set())
    table = pq.read_table(path)
    for name, column in columns.items():
        index = table.schema.get_field_index(name)
        table = table.remove_column(index) if column is None else table.set_column(index, name, column)
    pq.write_table(table, path)
    return path


def rows_of_pixels(*lengths: int, value: float | None = 0.0, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array([[value] * length for length in lengths], kind or pa.list_(pa.float32()))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixels": None}, "no column 'pixels': has image, label"),
        ({"label": None}, "no column 'label': has image, pixels"),
        ({"pixels": rows_of_pixels(72, 71, 72, 72)}, r"pixels of row 1 are 71 values, must be 72, .* \[3, 6, 4\]"),
        ({"pixels": rows_of_pixels(72, 72, 72, 72, value=float("nan"))}, "pixels of row 0 are not all finite"),
        ({"pixels": rows_of_pixels(72, 72, 72, 72, value=None)}, "'pixels' has empty values: 288 of 288"),
        ({"pixels": rows_of_pixels(72, 72, 72, 72, kind=pa.list_(pa.float64()))}, "must be lists of float32"),
        ({"pixels": pa.array([None] * 4, pa.list_(pa.float32()))}, "'pixels' has empty rows: 4 of 4"),
        ({"label": pa.array([0, 1, 2, 3])}, "label of row 3 is 3, must be 0 to 2"),
        ({"label": pa.array([0, 1, None, 2])}, "'label' has empty rows: 1 of 4"),
        ({"label": pa.array(["a", "b", "c", "d"])}, "'label' holds string, must be integers"),
    ],
)
def test_broken_columns(columns: dict[str, pa.Array | None], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"condensed\.parquet: .*{message}") as caught:
        load_condensed(broken_table(tmp_path, **columns))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no metadata of a condensed set"),
        ({"formation": 0}, "formation"),
        ({"formation": 5}, "5, which does not divide the image size 6x4"),
        ({"shape": [3, 24]}, "shape"),
        ({"std": [0.2, 0.3, -1.0]}, "std above 0"),
        ({"mean": [0.2, 0.3, "x"]}, "mean.2"),
        ({"class_names": ["a"]}, "label of row 0 is 1, must be 0 to 0"),
    ],
)
def test_broken_metadata(change: dict[str, Any] | None, message: str, tmp_path: Path) -> None:
    path = broken_table(tmp_path)
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    if change is None:
        del metadata[METADATA_KEY]
    else:
        metadata[METADATA_KEY] = json.dumps(json.loads(metadata[METADATA_KEY]) | change).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)

    with pytest.raises(InputError, match=rf"condensed\.parquet: .*{message}"):
        load_condensed(path)


def test_metadata_that_is_not_json(tmp_path: Path) -> None:
    path = broken_table(tmp_path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({METADATA_KEY: b"{"}), path)

    with pytest.raises(InputError, match="metadata of the condensed set, text: Invalid JSON"):
        load_condensed(path)


def test_files_that_are_missing_or_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist: give a run's folder or its condensed\.parquet"):
        load_condensed(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"condensed\.parquet does not exist"):
        load_condensed(tmp_path)
    whole = broken_table(tmp_path)
    for content in (b"", b"no parquet at all", whole.read_bytes()[:-200], whole.read_bytes()[:300] + whole.read_bytes()[400:]):
        (tmp_path / "x.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.parquet") as caught:
            load_condensed(tmp_path / "x.parquet")
        assert "\n" not in str(caught.value)


def test_version_is_the_installed_one() -> None:
    assert make_set().version == replace(make_set(), formation=1).version != ""
