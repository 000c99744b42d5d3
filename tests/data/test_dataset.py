from __future__ import annotations

import multiprocessing
import shutil
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dataset_files import encode, random_images, structs, write
from PIL import Image

from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.data.schema import SPLITS, DatasetInfo
from hmdc_ray.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def opened(tmp_path: Path, source: Path | str, **fields: Any) -> ImageDataset:
    return open_dataset(DataConfig(source=str(source), cache=str(tmp_path / "cache"), **fields))


def everything(dataset: ImageDataset) -> dict[str, Any]:
    return {split: (dataset.pixels(split, range(dataset.info.sizes[split])).numpy(), dataset.labels(split)) for split in SPLITS}


def write_folder(folder: Path, images: Any, labels: Any, **options: Any) -> Path:
    """A folder whose training, validation and test files all hold the same rows."""
    for split in SPLITS:
        write(folder / f"{split}-00000-of-00001.parquet", images, labels, **options)
    return folder


LAYOUTS = {
    "grey PNG struct": (random_images(6, 5, 7), structs),
    "colour PNG struct": (random_images(6, 5, 7, 3), structs),
    "binary": (random_images(6, 5, 7, 3), lambda images: pa.array([encode(image) for image in images])),
    "large binary": (
        random_images(6, 5, 7),
        lambda images: pa.array([encode(image) for image in images], pa.large_binary()),
    ),
    "lists HW": (random_images(6, 5, 7), lambda images: pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8())))),
    "lists HWC of int64": (random_images(6, 5, 7, 3), lambda images: pa.array(images.tolist())),
    "fixed-size lists HWC": (
        random_images(6, 5, 7, 3),
        lambda images: pa.array(images.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8(), 3), 7), 5)),
    ),
    "lists HW1": (random_images(6, 5, 7), lambda images: pa.array(images[..., None].tolist())),
    "lists CHW": (random_images(6, 5, 7, 3), lambda images: pa.array(images.transpose(0, 3, 1, 2).tolist())),
    "lists 1HW": (random_images(6, 5, 7), lambda images: pa.array(images[:, None].tolist())),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_stored_pixels(tmp_path: Path, layout: str) -> None:
    images, store = LAYOUTS[layout]
    dataset = opened(tmp_path, write_folder(tmp_path / "data", store(images), [0, 1, 2, 2, 1, 0]))
    expected = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    for split in SPLITS:
        assert np.array_equal(dataset.pixels(split, range(6)).numpy(), expected)
        assert dataset.labels(split).tolist() == [0, 1, 2, 2, 1, 0]
    assert (dataset.info.shape.channels, dataset.info.shape.height, dataset.info.shape.width) == expected.shape[1:]
    assert dataset.info.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("columns", "labels", "names"),
    [
        ({"image": "img", "label": "fine_label"}, [0, 1, 0, 1], ("0", "1")),
        ({"image": "photo", "label": "Class"}, [0, 1, 0, 1], ("0", "1")),
        ({"image": "IMAGE", "label": "LABELS"}, [1, 0, 1, 0], ("0", "1")),
        ({"label": "y"}, ["cat", "ant", "cat", "ant"], ("ant", "cat")),
        ({}, pa.array(["b", "a", "b", "a"]).dictionary_encode(), ("a", "b")),
        ({}, pa.array([0, 0, 0, 0], pa.uint8()), ("0",)),
    ],
)
def test_columns_are_found_and_strings_become_sorted_classes(
    tmp_path: Path, columns: dict[str, str], labels: Any, names: tuple[str, ...]
) -> None:
    dataset = opened(tmp_path, write_folder(tmp_path / "data", structs(random_images(4, 3, 3)), labels, **columns))
    texts = labels.to_pylist() if isinstance(labels, pa.Array) else labels
    assert dataset.info.class_names == names
    assert [dataset.info.class_names[label] for label in dataset.labels("test")] == [str(text) for text in texts]


def test_named_columns_and_metadata_names_are_used(tmp_path: Path) -> None:
    images = random_images(4, 3, 3)
    table = pa.table(
        {"image": structs(images[::-1]), "other": structs(images), "label": [0] * 4, "group": ["u", "v", "u", "v"]}
    )
    for split in SPLITS:
        pq.write_table(table, tmp_path / f"{split}.parquet")
    dataset = opened(tmp_path, tmp_path, image_column="other", label_column="group")
    assert np.array_equal(dataset.pixels("train", range(4)).numpy()[:, 0], images)
    assert dataset.labels("train").tolist() == [0, 1, 0, 1]

    named = write_folder(tmp_path / "named", structs(images), [1, 0, 1, 0], names=["zebra", "ape"])
    assert opened(tmp_path, named).info.class_names == ("zebra", "ape")


def test_resizing_and_channels(tmp_path: Path) -> None:
    grey, colour = random_images(1, 6, 8)[0], random_images(1, 4, 4, 3)[0]
    source = write_folder(tmp_path / "data", structs([grey, colour]), [0, 0])
    both = opened(tmp_path, source, image_size=(5, 9), channels=3).pixels("train", [0, 1]).numpy()
    for row, image in enumerate((grey, colour)):
        expected = np.asarray(Image.fromarray(image).convert("RGB").resize((9, 5), Image.Resampling.BILINEAR))
        assert np.array_equal(both[row], expected.transpose(2, 0, 1))
    assert opened(tmp_path, source, image_size=(5, 9), channels=1).pixels("train", [1]).shape == (1, 1, 5, 9)


def test_grey_images_after_a_colour_one_become_colour(tmp_path: Path) -> None:
    grey = random_images(1, 4, 4)[0]
    source = write_folder(tmp_path / "data", structs([random_images(1, 4, 4, 3)[0], grey]), [0, 0])
    assert np.array_equal(opened(tmp_path, source).pixels("test", [1]).numpy()[0], np.stack([grey] * 3))


def test_rotation_tags_are_applied(tmp_path: Path) -> None:
    image = Image.fromarray(random_images(1, 4, 6)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    encoded = pa.array([(tmp_path / "turned.png").read_bytes()])
    dataset = opened(tmp_path, write_folder(tmp_path / "data", encoded, [0]), image_size=(6, 4))
    assert np.array_equal(dataset.pixels("train", [0]).numpy()[0, 0], np.rot90(np.asarray(image), -1))


def test_rows_keep_order_across_files_row_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdc_ray.data.arrow_file._BATCH_BYTES", 7 * 9)
    monkeypatch.setattr("hmdc_ray.data.parquet._DECODED_BYTES", 4 * 9)
    images = random_images(300, 3, 3)
    table = pa.table({"image": structs(images), "label": np.arange(300) % 3})
    pq.write_table(table[:170], tmp_path / "train-00000-of-00002.parquet", row_group_size=30)
    pq.write_table(table[170:], tmp_path / "train-00001-of-00002.parquet", row_group_size=101)
    pq.write_table(table[:5], tmp_path / "test.parquet")
    pq.write_table(table[:5], tmp_path / "valid.parquet")
    dataset = opened(tmp_path, tmp_path)
    rows = np.random.default_rng(1).permutation(300)
    assert np.array_equal(dataset.pixels("train", rows).numpy()[:, 0], images[rows])
    assert np.array_equal(dataset.class_rows("train", 1), np.arange(1, 300, 3))
    assert dataset.class_rows("test", 1).tolist() == [1, 4]
    assert dataset.pixels("train", []).shape == (0, 1, 3, 3)


def test_normalised_and_statistics(tmp_path: Path) -> None:
    images = random_images(8, 4, 4, 3)
    images[..., 2] = 51  # a channel without spread
    dataset = opened(tmp_path, write_folder(tmp_path / "data", structs(images), [0, 1] * 4))
    scaled = images / 255
    assert dataset.info.mean == pytest.approx(scaled.mean((0, 1, 2)), abs=1e-12)
    assert dataset.info.std == pytest.approx((*scaled.std((0, 1, 2))[:2], 1.0), abs=1e-12)
    normal = dataset.normalised("train", range(8))
    assert normal.dtype == torch.float32
    expected = (scaled - dataset.info.mean) / dataset.info.std
    assert np.allclose(normal.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    exact = dataset.normalised("train", range(8), torch.float64).numpy()
    np.testing.assert_allclose(exact, expected.transpose(0, 3, 1, 2), rtol=1e-14, atol=1e-14)
    by_three = opened(tmp_path, tmp_path / "data", statistics="0.3,0.1,0.7:0.1,0.3,0.9")
    expected = (scaled - (0.3, 0.1, 0.7)) / (0.1, 0.3, 0.9)
    exact = by_three.normalised("train", range(8), torch.float64).numpy()
    np.testing.assert_allclose(exact, expected.transpose(0, 3, 1, 2), rtol=1e-14, atol=1e-14)


def test_statistics_come_from_the_training_split_only(tmp_path: Path) -> None:
    dark, bright = np.zeros((4, 3, 3), np.uint8), np.full((4, 3, 3), 255, np.uint8)
    for split in SPLITS:
        write(tmp_path / f"{split}.parquet", structs(dark if split == "train" else bright), [0] * 4)
    assert opened(tmp_path, tmp_path).info.mean == (0.0,)


def test_known_statistics_share_the_decoded_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "data", structs(random_images(4, 3, 3)), [0, 0, 0, 0])
    plain, known = opened(tmp_path, source), opened(tmp_path, source, statistics="mnist")
    assert (known.info.mean, known.info.std) == ((0.1307,), (0.3081,))
    assert known.info.fingerprint == plain.info.fingerprint
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1
    with pytest.raises(InputError, match=r"data.statistics is 'cifar10', for images of 3 channels"):
        opened(tmp_path, source, statistics="cifar10")


def test_fingerprint_depends_on_data_alone(tmp_path: Path) -> None:
    images = random_images(6, 3, 3)
    source = write_folder(tmp_path / "data", structs(images), [0, 1, 0, 1, 0, 1])
    first = opened(tmp_path, source).info
    copied = opened(tmp_path, shutil.copytree(source, tmp_path / "copy")).info
    assert copied.fingerprint == first.fingerprint
    assert copied.source == str(tmp_path / "copy")
    raw = pa.array(images.tolist())
    assert opened(tmp_path, write_folder(tmp_path / "raw", raw, [0, 1] * 3)).info.fingerprint == first.fingerprint

    images[0, 0, 0] ^= 1
    changed = [
        opened(tmp_path, write_folder(tmp_path / "pixel", structs(images), [0, 1] * 3)),
        opened(tmp_path, write_folder(tmp_path / "label", raw, [0, 1, 0, 1, 1, 0])),
        opened(tmp_path, write_folder(tmp_path / "names", raw, [0, 1] * 3, names=["a", "b"])),
        opened(tmp_path, write(tmp_path / "split.parquet", raw, [0, 1] * 3)),
    ]
    assert len({first.fingerprint, *(dataset.info.fingerprint for dataset in changed)}) == 5


def test_info_survives_json(tmp_path: Path) -> None:
    info = opened(tmp_path, "digits").info
    assert DatasetInfo.from_json(info.to_json()) == info


def test_what_is_handed_out_cannot_change_the_dataset(tmp_path: Path) -> None:
    dataset = opened(tmp_path, write_folder(tmp_path / "data", structs(random_images(4, 3, 3)), [0, 0, 0, 0]))
    before = dataset.pixels("train", [0]).clone()
    dataset.pixels("train", [0]).zero_()
    assert torch.equal(dataset.pixels("train", [0]), before)
    for array in (dataset.labels("train"), dataset.class_rows("train", 0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def _open_at_once(source: str, cache: str, barrier: Barrier, results: Any) -> None:
    seen: list[int] = []
    barrier.wait(timeout=60)
    dataset = open_dataset(DataConfig(source=source, cache=cache), lambda done, total: seen.append(done))
    results.put((bool(seen), dataset.info.fingerprint))


def test_processes_that_open_at_once_decode_once(tmp_path: Path) -> None:
    source = write(tmp_path / "data.parquet", structs(random_images(3000, 8, 8)), np.arange(3000) % 10)
    context = multiprocessing.get_context("fork")  # others would import torch again, for seconds
    barrier, results = context.Barrier(2), context.Queue()
    arguments = (str(source), str(tmp_path / "cache"), barrier, results)
    processes = [context.Process(target=_open_at_once, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert sorted(decoded for decoded, _ in answers) == [False, True]
    assert len({fingerprint for _, fingerprint in answers}) == 1


def test_single_file_is_split_fixed_and_stratified(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 10])
    images = np.arange(80, dtype=np.uint8)[:, None, None].repeat(3, 1).repeat(3, 2)
    source = write(tmp_path / "data.parquet", structs(images), labels)
    first = opened(tmp_path, source, test_fraction=0.2, validation_fraction=0.25)
    assert [len(first.class_rows("test", label)) for label in range(3)] == [10, 4, 2]
    assert [len(first.class_rows("validation", label)) for label in range(3)] == [10, 4, 2]
    rows = [first.pixels(split, range(first.info.sizes[split]))[:, 0, 0, 0].tolist() for split in SPLITS]
    assert sorted(value for part in rows for value in part) == list(range(80))
    again = opened(tmp_path, shutil.copy(source, tmp_path / "again.parquet"), test_fraction=0.2, validation_fraction=0.25)
    for split in SPLITS:
        assert np.array_equal(everything(first)[split][0], everything(again)[split][0])


def test_digits(tmp_path: Path) -> None:
    info = opened(tmp_path, "digits").info
    dataset = opened(tmp_path, "digits", validation_fraction=0.5, test_fraction=0.5)
    assert dataset.info == info
    assert sum(info.sizes.values()) == 1797
    assert [round(info.sizes[split] / 1797, 2) for split in SPLITS] == [0.6, 0.1, 0.3]
    assert (info.shape.channels, info.shape.height, info.shape.width) == (1, 16, 16)
    assert info.class_names == tuple("0123456789")
    for label in range(10):
        counts = [len(dataset.class_rows(split, label)) for split in SPLITS]
        assert np.allclose(np.array(counts) / sum(counts), [0.6, 0.1, 0.3], atol=0.01)
    assert opened(tmp_path, "digits", image_size=(8, 8)).pixels("train", range(1079)).max() == 255


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs ../shared/data/mnist")
def test_shared_mnist_reads_right(tmp_path: Path) -> None:
    table = pq.read_table(SHARED / "mnist" / "test-00000-of-00001.parquet")[:1000]
    for split in SPLITS:
        pq.write_table(table, tmp_path / f"{split}.parquet")
    dataset = opened(tmp_path, tmp_path, statistics="mnist")
    assert dataset.info.class_names == tuple("0123456789")
    assert dataset.labels("test").tolist() == table["label"].to_pylist()
    for row in (0, 17, 999):
        (tmp_path / "one.png").write_bytes(table["image"][row]["bytes"].as_py())
        assert np.array_equal(dataset.pixels("test", [row]).numpy()[0, 0], np.asarray(Image.open(tmp_path / "one.png")))
    assert abs(float(dataset.normalised("test", range(1000)).mean())) < 0.05
