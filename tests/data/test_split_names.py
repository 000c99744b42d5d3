from __future__ import annotations

import pytest

from hmdc_ray.data.split_names import KEYWORDS, hidden_keyword, split_of
from hmdc_ray.errors import InputError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("train.parquet", "train"),
        ("cifar10-train.parquet", "train"),
        ("my_train_data", "train"),
        ("Training", "train"),
        ("train1", "train"),
        ("TEST_0.parquet", "test"),
        ("cifar10-test.parquet", "test"),
        ("my_test_data", "test"),
        ("testing.parquet", "test"),
        ("eval", "test"),
        ("set (evaluation).parquet", "test"),
        ("valid-0.parquet", "validation"),
        ("val", "validation"),
        ("x.dev.parquet", "validation"),
        ("validation-00000-of-00001.parquet", "validation"),
        ("2024 VAL", "validation"),
        ("ＴＲＡＩＮ", "train"),
        ("te\u017ft.parquet", "test"),
        ("TRA\u0130N", "train"),
        ("tra\u0131n", "train"),
        ("testament.parquet", None),
        ("épreuvetest.parquet", None),
        ("0000.parquet", None),
    ],
)
def test_split_of_a_name(name: str, split: str | None) -> None:
    assert split_of([name]) == split


def test_every_keyword_counts_alone_and_between_separators() -> None:
    for word, split in KEYWORDS.items():
        assert split_of([word.upper()]) == split_of([f"a-{word}_b"]) == split_of(["0000.parquet", word]) == split
        assert split_of([f"x{word}x"]) is None and hidden_keyword(f"x{word}x") is not None


@pytest.mark.parametrize("names", [["train-test.parquet"], ["test", "train-0.parquet"], ["dev", "Eval.parquet"]])
def test_names_of_two_splits_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match=f"{'/'.join(names)}' names two splits"):
        split_of(names)


def test_a_path_may_repeat_its_split() -> None:
    assert split_of(["train", "training-0.parquet"]) == "train"
