from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset_files import random_images, structs, write
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.files import find_files
from hmdc_ray.data.schema import SPLITS
from hmdc_ray.data.split_names import KEYWORDS
from hmdc_ray.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path) -> list[tuple[str, str]]:
    return [(file.path.relative_to(folder).as_posix(), file.split) for file in find_files(str(folder))]


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_files(str(folder))
    return str(caught.value)


def test_files_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "test/0.parquet", "train/1.parquet", "train/0.parquet", "val/x.parquet", ".hidden.parquet")
    touch(tmp_path, "train/.0.parquet", ".git/9.parquet", "train/readme.txt", "README.md")
    assert found(tmp_path) == [
        ("train/0.parquet", "train"),
        ("train/1.parquet", "train"),
        ("val/x.parquet", "validation"),
        ("test/0.parquet", "test"),
    ]


def test_nameless_files_all_train(tmp_path: Path) -> None:
    touch(tmp_path, "b.parquet", "a.PARQUET")
    assert found(tmp_path) == [("a.PARQUET", "train"), ("b.parquet", "train")]


REPOSITORIES = {
    "configuration": (["plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"], ["train", "test"]),
    "data folder": (["data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"], ["train", "validation"]),
    "converted": (["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"], None),
    "names with a prefix": (["cifar10-train.parquet", "cifar10-test.parquet"], ["train", "test"]),
    "folders with a prefix": (["my_train_data/0.parquet", "my_test_data/0.parquet"], ["train", "test"]),
    "participles": (["training.parquet", "testing.parquet"], ["train", "test"]),
    "split of a folder two levels up": (["Training/part/a.parquet", "Testing/part/a.parquet"], ["train", "test"]),
}


@pytest.mark.parametrize("case", REPOSITORIES)
def test_layouts_of_repositories(tmp_path: Path, case: str) -> None:
    names, splits = REPOSITORIES[case]
    touch(tmp_path, *names, "README.md", ".gitattributes")
    assert found(tmp_path) == list(zip(names, splits or ["train", "train", "test"], strict=True))


def test_a_cache_of_links_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "blobs", "a", "b")
    for name, blob in (("data/train-0.parquet", "a"), ("data/test-0.parquet", "b")):
        (tmp_path / "snapshot" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / blob)
    (tmp_path / "snapshot" / "data" / "circle").symlink_to(tmp_path / "snapshot")
    assert found(tmp_path / "snapshot") == [("data/train-0.parquet", "train"), ("data/test-0.parquet", "test")]


def test_links_to_nothing_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train.parquet")
    (tmp_path / "test.parquet").symlink_to(tmp_path / "blobs" / "gone")
    assert "test.parquet is a link to nothing, images would be missing" in refusal(tmp_path)


def test_a_file_that_git_lfs_has_not_fetched_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match="is a pointer of Git LFS, not the file itself: run 'git lfs pull'"):
        open_dataset(DataConfig(source=str(tmp_path), cache=str(tmp_path / "cache")))


def test_test_images_stay_test_images(tmp_path: Path) -> None:
    for name in ("cifar10-train.parquet", "cifar10-test.parquet"):
        write(tmp_path / "in" / name, structs(random_images(16, 4, 4)), [0, 1] * 8)
    info = open_dataset(DataConfig(source=str(tmp_path / "in"), cache=str(tmp_path / "cache"), validation_fraction=0)).info
    assert info.sizes == {"train": 16, "validation": 0, "test": 16}


@pytest.mark.parametrize("name", ["trainset.parquet", "mytest.parquet", "cifartrain/0.parquet"])
def test_a_keyword_within_a_word_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "train.parquet" if "/" not in name else "cifartest/0.parquet")
    message = refusal(tmp_path)
    assert "not as a word of its own" in message and "rename it to train-*.parquet" in message
    assert (name if "/" not in name else "cifartest/0.parquet") in message


def test_a_keyword_within_the_word_of_a_whole_set_can_be_given(tmp_path: Path) -> None:
    touch(tmp_path, "latest/0.parquet", "latest/1.parquet")
    message = refusal(tmp_path)
    advised = message.partition("or give --data ")[2].partition(" ")[0]
    assert [file.split for file in find_files(advised)] == ["train", "train"]


@pytest.mark.parametrize("copy", ["train-00000-of-00002 (1).parquet", "train-00000-of-00002-c0ffee.parquet"])
def test_a_part_that_is_there_twice_is_refused(tmp_path: Path, copy: str) -> None:
    touch(tmp_path, "train-00000-of-00002.parquet", copy, "train-00001-of-00002.parquet")
    message = refusal(tmp_path)
    assert f"{copy!r} and 'train-00000-of-00002.parquet' are the same part" in message or f"and {copy!r} are the" in message


def test_configurations_within_splits_are_refused_with_advice_that_can_be_followed(tmp_path: Path) -> None:
    touch(tmp_path, "train/small/0.parquet", "train/large/0.parquet")
    message = refusal(tmp_path)
    assert message.endswith("side by side: large, small; move the files of all but one away")


@pytest.mark.parametrize("name", [b"caf\xe9/train.parquet", b"train-\xff.parquet"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: bytes) -> None:
    touch(tmp_path, os.fsdecode(name))
    message = refusal(tmp_path)
    assert "the name is not UTF-8" in message and message.isascii()
    with pytest.raises(InputError, match="the name is not UTF-8"):
        find_files(str(tmp_path / os.fsdecode(name)))


@pytest.mark.parametrize("ending", ["npz", "PT"])
def test_arrays_in_the_place_of_parquet_files_are_to_be_prepared(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"my arrays.{ending}"
    path.write_bytes(b"arrays")
    with pytest.raises(InputError) as caught:
        open_dataset(DataConfig(source=str(path), cache=str(tmp_path / "cache")))
    assert str(caught.value).endswith(f"for arrays: hmdc prepare '{path}' OUT, then --data OUT")


def test_several_configurations_are_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "cropped_digits/train-0.parquet", "full_numbers/train-0.parquet")
    message = refusal(tmp_path)
    assert "2 data sets side by side: cropped_digits, full_numbers" in message
    advised = message.rpartition("--data ")[2]
    assert find_files(advised)[0].path == tmp_path / "cropped_digits" / "train-0.parquet"


def test_files_beside_a_configuration_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train.parquet", "backup/train.parquet")
    assert "(the folder itself), backup" in refusal(tmp_path)


def test_files_that_are_missing_of_a_set_are_told(tmp_path: Path) -> None:
    for name in ("train-00001-of-00003.parquet", "test-00000-of-00001.parquet"):
        write(tmp_path / "in" / name, structs(random_images(4, 4, 4)), [0, 1] * 2)
    info = open_dataset(DataConfig(source=str(tmp_path / "in"), cache=str(tmp_path / "cache"))).info
    assert info.origin.notes == ("train-*: 1 of 3 files are there",)
    assert info.origin.files == {"train": 1, "validation": 0, "test": 1}


def test_a_file_of_no_split_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train.parquet", "extra.parquet")
    assert "'extra.parquet' belongs to no split" in refusal(tmp_path)


def test_a_folder_without_parquet_files_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path / "my photos", "cat/1.png", "cat/2.png", "dog/1.JPG", "labels")
    assert "holds no Parquet file" in (message := refusal(tmp_path / "my photos"))
    assert "2 .png, 1 .jpg, 1 without ending" in message and f"hmdc prepare '{tmp_path}/my photos' OUT" in message


words = st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(), words, st.sampled_from(["-", "_", ".", " "]), st.sampled_from(sorted(KEYWORDS)), st.booleans()
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_file_is_left_out_or_gets_another_split(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[bool, str, str, str, bool]]
) -> None:
    """Whatever the names, a source is read with every file in the split that its keyword says, or
    refused by name."""
    folder, expected = tmp_path_factory.mktemp("names"), {}
    for number, (in_folder, word, separator, keyword, upper) in enumerate(files):
        keyword = keyword.upper() if upper else keyword
        named = f"{number}{separator}{keyword}{separator}{word}" if separator != "." or not word else f"{number}.{keyword}"
        name = f"{named}/0.parquet" if in_folder else f"{named}.parquet"
        touch(folder, name)
        expected[name] = KEYWORDS[keyword.lower()]
    try:
        read = dict(found(folder))
    except InputError as error:
        assert "train" not in expected.values() or "names two splits" in str(error), str(error)
        return
    assert read == expected
    assert [*read.values()] == [split for split in SPLITS for named in read.values() if named == split]
