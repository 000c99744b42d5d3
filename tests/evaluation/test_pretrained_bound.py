"""The upper bound by networks that were trained already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from in_process import InProcess

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, RunConfig, StudentConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.pretrained_bound import stored_accuracy
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.models import build, save_weights
from hmdc_ray.seeding import Key

STUDENT = StudentConfig(architecture="mlp")


@pytest.fixture
def folder(three_digits: ImageDataset, tmp_path: Path) -> Path:
    """What 'hmdc pretrain' leaves of a network, here one that nobody trained."""
    info = three_digits.info
    save_weights(build("mlp", {}, info.shape, 3, Key(5, "network")), tmp_path / "mlp.safetensors")
    (tmp_path / "accuracies.json").write_text(json.dumps({"data_fingerprint": info.fingerprint}))
    return tmp_path


@pytest.fixture
def config(three_digits_config: DataConfig, folder: Path) -> RunConfig:
    evaluation = {"students": ["mlp"], "seeds": 2, "epochs": 1, "baselines": "random", "whole_data": str(folder)}
    return parse_config({"data": three_digits_config.model_dump(), "evaluation": evaluation}, "test")


def judged(config: RunConfig, dataset: ImageDataset) -> Evaluation:
    info = dataset.info
    images = dataset.normalised("train", [0, 30, 60])
    condensed = CondensedSet(images, torch.arange(3), info.class_names, info.mean, info.std)
    return conduct(condensed, config, pool=None, executor=InProcess(), progress=lambda done, total: None)


def test_the_stored_network_is_tested_as_it_is(config: RunConfig, three_digits: ImageDataset, folder: Path) -> None:
    (row,) = judged(config, three_digits).rows
    wanted = stored_accuracy(STUDENT, folder, three_digits, "test", threads=1, device="cpu")
    assert row.whole_data is not None and row.whole_data.values == (wanted,)
    assert row.condensed is not None and len(row.condensed.values) == 2 and row.label_robust_score is not None
    other = build("mlp", {}, three_digits.info.shape, 3, Key(6, "network"))
    save_weights(other, folder / "mlp.safetensors")
    (again,) = judged(config, three_digits).rows  # nothing of it is remembered
    assert again.whole_data is not None
    assert again.whole_data.values == (stored_accuracy(STUDENT, folder, three_digits, "test", threads=1, device="cpu"),)


def test_networks_of_other_data_are_refused(config: RunConfig, three_digits: ImageDataset, folder: Path) -> None:
    (folder / "accuracies.json").write_text(json.dumps({"data_fingerprint": "other"}))
    with pytest.raises(InputError, match=r"evaluation.whole_data is '.*', trained on data of fingerprint 'other'"):
        judged(config, three_digits)
    (folder / "accuracies.json").unlink()
    with pytest.raises(InputError, match=r"evaluation.whole_data is '.*', which holds no finished pre-training"):
        judged(config, three_digits)


def test_a_student_without_weights_is_named(config: RunConfig, three_digits: ImageDataset, folder: Path) -> None:
    (folder / "mlp.safetensors").unlink()
    with pytest.raises(InputError, match=r"evaluation.whole_data, student 'mlp': .*mlp.safetensors.*no such file"):
        judged(config, three_digits)
