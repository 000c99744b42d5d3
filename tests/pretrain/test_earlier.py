"""Trainings begun by an earlier version: resumed where nothing has changed, else refused with what
was corrected."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError
from hmdc_ray.pretrain.folder import Record, read_record, require_resumable, storage_location, write_record

from .conftest import identity, planned, resumed


def begun_before(config: RunConfig, folder: Path, values: dict[str, str] | None = None, *drop: str) -> Record:
    """Write the record of a training that a version began whose recipes had fewer fields, and some
    of other values."""
    values = values or {}
    lacking = ("one_warp", "cutout_beside_cutmix", "GPU format", "data.statistics", *drop)
    fields = {name: values.get(name.rpartition(".")[2], value) for name, value in identity(config).items()}
    fields = {name: value for name, value in fields.items() if not name.endswith(lacking)}
    record = Record("tiny-0", storage_location(None, folder), fields)
    (folder / "pretrain.json").write_text(json.dumps({"run": record.run, "storage": record.storage, "identity": fields}))
    return record


def judged(config: RunConfig, **evaluation: Any) -> RunConfig:
    return parse_config(config.model_dump() | {"evaluation": {**config.evaluation.model_dump(), **evaluation}}, "test")


HMDC = {"decay": "0.2"}
"""The rate of hmdc never falls, but its recipe once had a factor for it."""


@pytest.mark.parametrize(
    ("evaluation", "before"),
    [({}, {}), ({"augmentation": True}, {}), ({"protocol": "hmdc", "augmentation": False}, HMDC)],
    ids=["dc", "dc-varied", "hmdc-plain"],
)
def test_a_training_from_before_a_choice_goes_on_where_it_did_what_is_now_the_default(
    config: RunConfig, tmp_path: Path, evaluation: dict[str, Any], before: dict[str, str]
) -> None:
    config = judged(config, **evaluation)
    record = begun_before(config, tmp_path, before, ".statistics")
    assert resumed(config, tmp_path) == record
    with pytest.raises(InputError, match=r"seed is 4, but the pre-training in .* was begun with 3: resume with the same"):
        resumed(config.model_copy(update={"seed": 4}), tmp_path)


def test_statistics_that_a_record_does_not_name_are_those_that_were_stated_or_the_datas_own(
    config: RunConfig, tmp_path: Path
) -> None:
    record = begun_before(config, tmp_path)
    assert resumed(config, tmp_path, data={"statistics": "0.5:0.25"}) == record  # as ever, a stated one counted
    info = replace(open_dataset(config.data).info, statistics="cifar10")  # a record with the data
    with pytest.raises(InputError, match=r"^data.statistics is 'cifar10', but .* begun with 'own': resume with the same value"):
        require_resumable(read_record(tmp_path), tmp_path, None, planned(config), info)


BEFORE = (
    r"^the pre-training in .* was begun by another version of hmdc-ray and would not lead to the same weights: {}; start anew"
)


@pytest.mark.parametrize(
    ("evaluation", "before", "side", "corrected"),
    [
        ({"protocol": "idc"}, {"batch": "128", "cutmix_tokens": "False"}, 32, "protocol idc has batches of 64, .* CutMix .*"),
        ({"protocol": "idc", "augmentation": False}, {"batch": "128"}, 36, "protocol idc has batches of 64, .* cutout"),
        ({"protocol": "hmdc"}, HMDC, 32, "sides of CutMix boxes truncate, where they were rounded"),
        (
            {"protocol": "hmdc", "families": ["flip", "crop"]},
            HMDC,
            84,
            "sides of .* rounded, and crops of .* one pixel further",
        ),
        ({"num_gpus": 1}, {}, 32, "networks on GPUs multiply in the format of matching.precision, where they did in torch's"),
    ],
    ids=["idc", "idc-plain", "hmdc", "hmdc-84", "gpu"],
)
def test_a_training_whose_recipe_was_corrected_since_is_refused_with_what_was_corrected(
    config: RunConfig, tmp_path: Path, evaluation: dict[str, Any], before: dict[str, str], side: int, corrected: str
) -> None:
    config = judged(config, **evaluation)
    begun_before(config, tmp_path, before)
    info = open_dataset(config.data).info
    info = replace(info, shape=replace(info.shape, height=side, width=side))
    with pytest.raises(InputError, match=BEFORE.format(corrected)):
        require_resumable(read_record(tmp_path), tmp_path, None, planned(config), info)
    record = Record.fresh("tiny", storage_location(None, tmp_path), identity(config))
    write_record(tmp_path, record)
    require_resumable(record, tmp_path, None, planned(config), info)
    assert read_record(tmp_path) == record


def test_another_protocol_than_before_is_told_as_such(config: RunConfig, tmp_path: Path) -> None:
    begun_before(config, tmp_path)
    with pytest.raises(
        InputError, match=r"^thin.extra_epoch is 'False', but .* begun with 'True' \(also .*mlp.decay.*: resume"
    ):
        resumed(config, tmp_path, evaluation={"protocol": "idc"})
