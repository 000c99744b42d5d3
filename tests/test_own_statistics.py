"""Wherever a network is built for use, its weights see images with the statistics that they were
trained with."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import InProcess
from parity.runs import parity_run
from rich.console import Console
from torch import Tensor

from hmdc_ray.cli.dry_run import show_plan
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, EvaluationConfig, MemberConfig, RunConfig, StudentConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.cache import BaselineCache
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.pretrained_bound import stored_accuracy
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.matching.member import Member
from hmdc_ray.models import Network, Normalisation, build, save_weights
from hmdc_ray.pretrain.batches import Group
from hmdc_ray.pretrain.plan import make_plan
from hmdc_ray.pretrain.training import Training
from hmdc_ray.run.validate import validate
from hmdc_ray.seeding import Key
from hmdc_ray.server.identity import identity

OWN = Normalisation((0.5,), (0.25,))
OPTIONS = {"width": 4, "depth": 1}


@pytest.fixture
def weights(three_digits: ImageDataset, tmp_path: Path) -> str:
    """Weights of a ConvNet that say that they were trained on images of :data:`OWN`."""
    save_weights(
        build("convnet", OPTIONS, three_digits.info.shape, 3, Key(1, "network"), space=OWN), tmp_path / "convnet.safetensors"
    )
    return f"checkpoint:{tmp_path / 'convnet.safetensors'}"


def section(weights: str, **fields: Any) -> dict[str, Any]:
    return {"architecture": "convnet", "options": OPTIONS, "weights": weights, **fields}


def sees(network: Network, space: Normalisation) -> Tensor:
    """What the module is given for images that are pixels of 0.75 everywhere, normalised as the
    network is told."""
    seen: list[Tensor] = []
    images_BCHW = torch.full((1, 1, 8, 8), (0.75 - space.mean[0]) / space.std[0])
    with network.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        network(images_BCHW)
    return seen[0]


def expected(value: float) -> Tensor:
    return torch.full((1, 1, 8, 8), value)


def test_a_member(three_digits: ImageDataset, three_digits_config: DataConfig, weights: str) -> None:
    info = three_digits.info
    for fields, value in ({}, 1.0), ({"statistics": "data"}, (0.75 - info.mean[0]) / info.std[0]):
        config = MemberConfig(**section(weights, **fields))
        run = parity_run(three_digits_config, (config,), precision="float32")
        member = Member(
            index=0,
            seed=0,
            config=config,
            matching=run.matching,
            schedule=run.schedule,
            images=run.images,
            dataset=three_digits,
            device=torch.device("cpu"),
        )
        member.begin(1)
        assert torch.allclose(sees(member.network, info.normalisation), expected(value), atol=1e-6)


def test_students_and_teachers_of_a_set_with_its_own_statistics(three_digits: ImageDataset, weights: str) -> None:
    info = three_digits.info
    images = CondensedSet(torch.zeros(3, 1, 8, 8), torch.arange(3), info.class_names, (0.1,), (0.2,))
    assert images.normalisation == Normalisation((0.1,), (0.2,)) != info.normalisation
    config = EvaluationConfig.model_validate({"students": [section(weights)], "distillation": {"teacher": section(weights)}})
    room = StudentTrainer(images, three_digits, config, 0, "cpu")
    for network in (room.student(config.students[0], 0), room.teacher(0)):
        assert torch.allclose(sees(network, images.normalisation), expected(1.0), atol=1e-6)
    bytes_ = replace(images, mean=(0.1 * 255,), std=(0.2 * 255,), value_range=(0.0, 255.0))
    assert bytes_.normalisation.mean == pytest.approx((0.1,)) and bytes_.normalisation.std == pytest.approx((0.2,))


def test_an_evaluation_records_it(three_digits: ImageDataset, three_digits_config: DataConfig, weights: str) -> None:
    info = three_digits.info
    students = [section(weights), section(weights, name="as-is", statistics="data")]
    evaluation = {"students": students, "seeds": 1, "epochs": 1, "baselines": "none"}
    config = parse_config({"data": three_digits_config.model_dump(), "evaluation": evaluation}, "test")
    images = CondensedSet(three_digits.normalised("train", [0, 30, 60]), torch.arange(3), info.class_names, info.mean, info.std)
    made = conduct(images, config, pool=None, executor=InProcess(), progress=lambda done, total: None)
    assert [row["statistics"] for row in json.loads(made.to_json())["rows"]] == ["own", "data"]
    cache = BaselineCache(config, images, info)
    keys = [cache._key(Trial("random", student, 0, 0), "test") for student in config.evaluation.students]
    assert keys[0] is not None and keys[1] is not None and keys[0] != keys[1]


def test_pre_training_records_what_it_trained_on(three_digits: ImageDataset, tmp_path: Path, weights: str) -> None:
    info = three_digits.info
    for number, (fields, known) in enumerate(
        [
            ({"architecture": "convnet", "options": OPTIONS}, info.normalisation),
            (section(weights), OWN),
            (section(weights, statistics="data"), info.normalisation),
        ]
    ):
        student = StudentConfig(**fields)
        training = Training(student, recipe(EvaluationConfig()), three_digits, 0, Group(0, 1), torch.device("cpu"))
        path = tmp_path / f"{number}.safetensors"
        save_weights(training.network, path)
        space = Normalisation((0.9,), (0.1,))
        key = Key(0, "network")
        assert build("convnet", OPTIONS, info.shape, 3, key, f"checkpoint:{path}", space=space).own == known


def test_a_pre_training_of_a_member_takes_its_choice_over(three_digits: ImageDataset, weights: str) -> None:
    config = parse_config({"pool": {"members": [section(weights, statistics="data")]}}, "test")
    plan = make_plan(config, three_digits.info, "convnet", "test", 60)
    assert plan.networks[0].statistics == "data" and plan.identity(three_digits.info)["convnet.statistics"] == "data"


def test_networks_trained_before_are_tested_as_they_were_trained(
    three_digits: ImageDataset, tmp_path: Path, weights: str
) -> None:
    info = three_digits.info
    network = build("convnet", OPTIONS, info.shape, 3, Key(0, "network"), weights)
    rows = torch.arange(info.sizes["test"]).numpy()
    logits_BK = network((three_digits.pixels("test", rows).float() / 255 - 0.5) / 0.25)
    right = float((logits_BK.argmax(1) == torch.tensor(three_digits.labels("test"))).float().mean())
    student = StudentConfig(architecture="convnet", options=OPTIONS)
    found = stored_accuracy(student, tmp_path, three_digits, "test", threads=1, device="cpu")
    assert found == pytest.approx(right)
    as_they_are = network(three_digits.normalised("test", rows))
    assert not torch.allclose(as_they_are, logits_BK, atol=1e-3)


# Plan and identity


def planned(weights: str, data: DataConfig) -> RunConfig:
    members = [section(weights), section(weights, name="as-is", statistics="data"), "mlp"]
    fields = {"data": data.model_dump(), "pool": {"members": members}, "evaluation": {"students": ["mlp"]}}
    return parse_config(fields, "test")


def test_a_dry_run_shows_it(three_digits_config: DataConfig, weights: str) -> None:
    text = io.StringIO()
    show_plan(planned(weights, three_digits_config), Path("out"), Console(file=text, width=300))
    lines = {line.split()[1]: line for line in text.getvalue().splitlines() if line.startswith("member ")}
    assert "1 tap, normalised by its own mean 0.5, std 0.25" in lines["convnet"]
    assert "normalised" not in lines["as-is"] + lines["mlp"]


def test_networks_are_checked_with_it(three_digits: ImageDataset, three_digits_config: DataConfig, weights: str) -> None:
    own, as_is, _ = validate(planned(weights, three_digits_config), three_digits.info)
    assert own.renormalises and not as_is.renormalises


def test_a_run_is_not_resumed_with_another_choice(three_digits: ImageDataset) -> None:
    def members(**fields: Any) -> list[dict[str, Any]]:
        config = parse_config({"pool": {"members": [{"architecture": "convnet", **fields}]}}, "test")
        found: list[dict[str, Any]] = identity(config, three_digits.info)["config"]["pool"]["members"]
        return found

    for weights, before in ("scratch", "own"), ("checkpoint:x", "own"), ("pretrained", "data"):
        choices = {choice: members(weights=weights, statistics=choice) for choice in ("own", "data")}
        assert choices["own"] != choices["data"]
        assert "statistics" not in choices[before][0]  # goes on from checkpoints that know no choice
