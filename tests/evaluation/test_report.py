import json
from dataclasses import replace
from pathlib import Path

import pytest

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError

from .conftest import evaluation


def test_file_has_the_fixed_names(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> None:
    path = tmp_path / "new" / "evaluation.json"

    evaluation(digits, replace(digit_means, fingerprint="abc"), baselines="random").write(path)

    content = json.loads(path.read_text())
    assert content["schema_version"] == 1
    assert (content["protocol"], content["split"], content["epochs"], content["seeds"]) == ("dc", "test", 300, 3)
    assert (content["ipc"], content["formation"], content["run_seed"]) == (1, 1, 4)
    assert content["data_fingerprint"] == digits.info.fingerprint and content["condensed_fingerprint"] == "abc"
    assert content["mean"] == list(digit_means.mean)
    row = content["rows"][0]
    assert (row["architecture"], row["in_pool"], row["kmeans"]) == ("mlp", None, None)
    assert set(row["condensed"]) == set(row["random"]) == {"mean", "std", "low", "high", "values"}
    assert row["random"]["mean"] == pytest.approx(0.51)
    assert row["random"]["low"] < row["random"]["mean"] < row["random"]["high"]
    assert [file.name for file in path.parent.iterdir()] == ["evaluation.json"]


def test_a_failed_write_keeps_the_old_file(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> None:
    blocked = tmp_path / "evaluation.json"
    blocked.mkdir()

    with pytest.raises(InputError, match=r"evaluation\.json cannot be written: "):
        evaluation(digits, digit_means).write(blocked)

    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]
