"""Networks that are trained on a device as strict as a GPU, outside of a pool: students of an
evaluation, and networks that are pre-trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.pretend_device import pretend_device
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, StudentConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.images import split_batches
from hmdc_ray.evaluation.protocol import PROTOCOLS
from hmdc_ray.evaluation.training import accuracy
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.training import Training

CPU = torch.device("cpu")
STUDENT = StudentConfig(architecture="convnet", options={"width": 4, "depth": 2})


def on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in state.items()}


def student(
    device: torch.device, protocol: str, trial: Trial, condensed: CondensedSet, dataset: ImageDataset
) -> tuple[dict[str, Tensor], float]:
    """Weights of a student, and its accuracy on the test split."""
    config = EvaluationConfig.model_validate(
        {"protocol": protocol, "students": (STUDENT,), "epochs": 3, "whole_data_epochs": 1}
    )
    trainer = StudentTrainer(condensed, dataset, config, 0, str(device))
    network = trainer.student(trial.student, trial.seed_index)
    trainer.train(network, trial, None)
    return on_cpu(network.state_dict()), accuracy(network, split_batches(dataset, "test", device, condensed))


@pytest.mark.parametrize("kind", ["condensed", "random", "whole_data"])
@pytest.mark.parametrize("protocol", ["dc", "idc"])
def test_a_student_is_the_same(protocol: str, kind: str, noise: CondensedSet, three_digits: ImageDataset) -> None:
    trial = Trial(kind, STUDENT, 0, 0, switched=protocol == "dc")  # type: ignore[arg-type]
    expected, right = student(CPU, protocol, trial, noise, three_digits)
    with pretend_device() as (device, _):
        found, also_right = student(device, protocol, trial, noise, three_digits)
    assert found.keys() == expected.keys() and also_right == right
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def pretrained(device: torch.device, dataset: ImageDataset, file: Path) -> tuple[dict[str, Tensor], list[float], float]:
    """Weights and losses of two epochs, between which the training is saved and loaded, and the
    accuracy."""
    recipe = replace(PROTOCOLS["idc"].varied, epochs=2, batch=16, learning_rate=0.01)
    first, second = (Training(STUDENT, recipe, dataset, 0, Group(), device) for _ in range(2))
    first.train_epoch(first.parallel())
    first.save(file)
    second.load(file, first.losses)
    second.train_epoch(second.parallel())
    return on_cpu(second.network.state_dict()), second.losses, second.accuracy("test")


def test_a_network_is_pretrained_the_same(three_digits: ImageDataset, tmp_path: Path) -> None:
    expected, losses, right = pretrained(CPU, three_digits, tmp_path / "cpu")
    with pretend_device() as (device, _):
        found, other_losses, also_right = pretrained(device, three_digits, tmp_path / "device")
    assert other_losses == pytest.approx(losses, rel=1e-4) and also_right == right
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
