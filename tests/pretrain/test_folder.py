"""The folder of a pre-training, and its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.errors import InputError
from hmdc_ray.pretrain.folder import Record, claim, clear, storage_location, write_record

from .conftest import identity, resumed


def test_another_training_is_not_gone_on_with(config: RunConfig, tmp_path: Path) -> None:
    record = Record.fresh("tiny", storage_location(None, tmp_path), identity(config))
    write_record(tmp_path, record)
    assert resumed(config, tmp_path) == record
    with pytest.raises(InputError, match=r"seed is 4, but the pre-training in .* was begun with 3: resume with the same"):
        resumed(config.model_copy(update={"seed": 4}), tmp_path)
    with pytest.raises(InputError, match=r"thin.epochs is '5', .* begun with '4' \(also mlp.epochs, convnet.epochs\)"):
        resumed(config, tmp_path, evaluation={"whole_data_epochs": 5})
    with pytest.raises(InputError, match=r"data.statistics is 'mnist', but .* begun with 'own'.*: resume with the same"):
        resumed(config, tmp_path, data={"statistics": "mnist"})
    with pytest.raises(InputError, match=r"GPU format is 'ieee', but .* begun with 'none, on CPUs': resume"):
        resumed(config, tmp_path, evaluation={"num_gpus": 1})
    with pytest.raises(InputError, match=r"--storage-path is 's3://elsewhere', but .* was begun with '/"):
        resumed(config, tmp_path, "s3://elsewhere")
    (tmp_path / "pretrain.json").write_text("{")
    with pytest.raises(InputError, match=r"pretrain.json cannot be read"):
        resumed(config, tmp_path)


def test_no_two_trainings_share_a_name_in_the_storage() -> None:
    assert len({Record.fresh("tiny", "/storage", {}).run for _ in range(10)}) == 10


def test_a_replaced_training_leaves_nothing(tmp_path: Path) -> None:
    for name in (
        "config.yaml",
        "pretrain.json",
        "accuracies.json",
        "losses.jsonl",
        "mlp.safetensors",
        "ray/old/x",
        "ray/new/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="already holds a run: use --resume"):
        claim(tmp_path, overwrite=False, resume=False)
    folder = claim(tmp_path, overwrite=True, resume=False)
    clear(folder, keep="new")
    folder.release()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".lock", "x"]
    assert (tmp_path / "ray" / "new" / "x").exists()


def test_a_condensation_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(InputError, match="holds a run of 'hmdc condense', and no pre-training"):
        claim(tmp_path, overwrite=True, resume=False)


def test_where_checkpoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_location(None, Path("/out")) == "/out/ray"
    assert storage_location("shared", Path("/out")) == str(tmp_path / "shared")
    assert storage_location("s3://bucket/folder", Path("/out")) == "s3://bucket/folder"
