"""Synthetic images that start from those of a condensed set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from whole_runs import CommandLine, pixels, tiniest, tree, write_config

from hmdc_ray import load_condensed
from hmdc_ray.actors.launch import launch
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.condensed import CondensedSet, save_condensed
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.config.io import commented_yaml, load_config, parse_config
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import given
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.validate import validate
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.server.initial_set import describe, read_initial_set

MLP = {"architecture": "mlp", "options": {"width": 4}}
Make = Callable[..., CondensedSet]


@pytest.fixture
def info(three_digits: ImageDataset) -> DatasetInfo:
    return three_digits.info


@pytest.fixture
def make(info: DatasetInfo) -> Make:
    """A set of two random images of 8x8 pixels for each of the three classes, class by class, with
    some fields replaced."""

    def made(**fields: Any) -> CondensedSet:
        images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(3).repeat_interleave(2)
        return replace(CondensedSet(images, labels, info.class_names, info.mean, info.std), **fields)

    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "set.parquet"


def configuration(file: Path, data: DataConfig | None = None, **images: Any) -> RunConfig:
    sections: dict[str, Any] = {} if data is None else {"data": data.model_dump()}
    sections |= {"pool": {"members": [MLP]}, "evaluation": {"students": [MLP]}}
    return parse_config({**sections, "images": {"initialise": f"set:{file}", "ipc": 2, **images}}, "test")


def first_images(config: RunConfig, info: DatasetInfo, folder: Path, precision: str = "float32") -> Tensor:
    """What the parameter server of a pool in this process begins with."""
    config = config.model_copy(update={"matching": config.matching.model_copy(update={"precision": precision})})
    return torch.as_tensor(np.array(LocalPool(config, info, folder).server.snapshot().images_KICHW))


@pytest.mark.parametrize(("formation", "precision"), [(1, "float32"), (2, "float64")])
def test_a_run_starts_from_the_images_of_the_file(
    make: Make, file: Path, info: DatasetInfo, three_digits_config: DataConfig, formation: int, precision: str
) -> None:
    condensed = make(formation=formation)
    save_condensed(file, condensed)
    config = configuration(file, three_digits_config, formation=formation)
    validate(config, info)
    found = first_images(config, info, file.parent, precision)
    assert found.shape == (3, 2, 1, 8, 8) and str(found.dtype) == f"torch.{precision}"
    assert torch.equal(found.flatten(0, 1).float(), condensed.images)


def test_classes_are_matched_by_name(make: Make, file: Path, info: DatasetInfo, three_digits_config: DataConfig) -> None:
    condensed = make(class_names=("2", "0", "1"), labels=torch.tensor([0, 1, 2, 2, 1, 0]))
    save_condensed(file, condensed)
    found = first_images(configuration(file, three_digits_config), info, file.parent)
    for label, rows in enumerate([[1, 4], [2, 3], [0, 5]]):
        assert torch.equal(found[label], condensed.images[rows])


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": (0.1307,), "std": (0.3081,)},
        {"mean": (10.0,), "std": (60.0,), "value_range": (-20.0, 235.0)},
    ],
)
def test_pixels_stay_where_the_set_is_normalised_in_another_way(
    make: Make,
    file: Path,
    info: DatasetInfo,
    three_digits_config: DataConfig,
    fields: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    condensed = make(**fields)
    save_condensed(file, condensed)
    low, high = condensed.value_range
    shown = (condensed.images.double() * condensed.std[0] + condensed.mean[0] - low) / (high - low)
    with caplog.at_level(logging.WARNING):
        found = first_images(configuration(file, three_digits_config), info, file.parent, "float64")
    assert torch.allclose(found.flatten(0, 1) * info.std[0] + info.mean[0], shown, rtol=1e-12, atol=1e-12)
    (told,) = caplog.messages
    assert (
        told.startswith(f"images.initialise is 'set:{file}': its images, normalised by mean ") and "their pixels stay" in told
    )


def test_statistics_that_differ_by_rounding_are_the_same(
    make: Make, file: Path, info: DatasetInfo, three_digits_config: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    condensed = make(mean=(round(info.mean[0], 5),), std=(info.std[0] * (1 + 5e-5),))
    save_condensed(file, condensed)
    found = first_images(configuration(file, three_digits_config), info, file.parent)
    assert torch.equal(found.flatten(0, 1), condensed.images) and not caplog.messages


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, {"ipc": 1}, "the set has 2 images of a class, but images.ipc is 1: set images.ipc=2"),
        (
            {"labels": torch.tensor([0, 0, 0, 1, 1, 2])},
            {},
            "the set has 1 to 3 images of a class: must have images.ipc 2 of each",
        ),
        ({"formation": 2}, {}, "the set has formation 2, but images.formation is 1: set images.formation=2"),
        ({}, {"formation": 4}, "the set has formation 1, but images.formation is 4: set images.formation=1"),
        ({"images": torch.zeros(6, 1, 8, 4)}, {}, "the set has images of 1x8x4, data 'digits' of 1x8x8: set data.channels and"),
        (
            {"images": torch.zeros(6, 3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3},
            {},
            "the set has images of 3x8x8, data 'digits' of 1x8x8",
        ),
        (
            {"class_names": ("0", "1", "7")},
            {},
            "the set has 3 classes, data 'digits' has 3, and class '2' is in one of them only: must be the same names",
        ),
        (
            {"class_names": ("0", "1", "2", "3")},
            {},
            "the set has 4 classes, data 'digits' has 3, and class '3' is in one of them",
        ),
    ],
    ids=["ipc", "uneven", "formation", "no formation", "size", "channels", "names", "more classes"],
)
def test_a_set_that_does_not_fit_is_refused_before_anything_starts(
    make: Make, file: Path, info: DatasetInfo, fields: dict[str, Any], images: dict[str, Any], message: str
) -> None:
    save_condensed(file, make(**fields))
    with pytest.raises(InputError) as caught:
        validate(configuration(file, **images), replace(info, source="digits"))
    assert str(caught.value).startswith(f"images.initialise is 'set:{file}': {message}")


def test_a_file_that_is_missing_or_broken_is_refused(file: Path, info: DatasetInfo) -> None:
    with pytest.raises(InputError, match=r"images\.initialise is 'set:.*set\.parquet': .* does not exist: give a run's folder"):
        validate(configuration(file), info)
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"images\.initialise is 'set:.*set\.parquet': .* is not a readable Parquet file"):
        validate(configuration(file), info)


def test_as_many_real_images_are_not_needed(make: Make, file: Path, info: DatasetInfo) -> None:
    images, labels = torch.zeros(90, 1, 8, 8), torch.arange(3).repeat_interleave(30)
    assert min(info.class_sizes) < 30
    save_condensed(file, make(images=images, labels=labels))
    validate(configuration(file, ipc=30), info)


# Configuration


@pytest.mark.parametrize("value", ["noise", "real", "kmeans", "set:runs/a", "set:my sets/a.parquet"])
def test_what_images_may_start_from(value: str, tmp_path: Path) -> None:
    config = parse_config({"images": {"initialise": value}}, "test")
    (tmp_path / "config.yaml").write_text(commented_yaml(config))
    assert "a condensed set with the same classes" in " ".join((tmp_path / "config.yaml").read_text().split("\n    # "))
    assert load_config(tmp_path) == config
    assert config.images.initial_set == (value[4:] if value.startswith("set:") else None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("kmean", "images.initialise: initialise is 'kmean': must be noise, real, kmeans, or set:FILE; did you mean 'kmeans'?"),
        ("set:", "initialise is 'set:': must be noise, real, kmeans, or set:FILE"),
        ("file:a", "initialise is 'file:a': must be noise, real, kmeans, or set:FILE"),
        (True, "images.initialise is true: must be text"),
    ],
)
def test_what_they_may_not_start_from(value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_config({"images": {"initialise": value}}, "test")
    assert message in str(caught.value)


def test_the_path_holds_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def placed(value: str) -> str:
        return with_absolute_paths(parse_config({"images": {"initialise": value}}, "test")).images.initialise

    assert placed("set:runs/a") == f"set:{tmp_path}/runs/a"
    assert [placed(value) for value in ("set:~/a", "real")] == ["set:~/a", "real"]


# Whole runs


def test_a_run_goes_on_from_another_run_s_images(hmdc: CommandLine, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(tmp_path, schedule={"iterations": 1, "checkpoint_every": 1}))
    hmdc.succeeds("condense", "tiny.yaml", "--output", "a")
    again = ("condense", "tiny.yaml", "--set", "images.initialise=set:a", "--set", "images.learning_rate=1e-9", "--output", "b")
    planned = hmdc.succeeds(*again, "--dry-run")
    assert "1 per class, formation 1, from set:a" in planned and "normalised" not in planned
    before = tree(tmp_path)
    refused = hmdc(*again[:-1], "a", "--overwrite")
    assert refused.code == 2 and "images.initialise is 'set:" in refused.err and "choose another --output" in refused.err
    assert hmdc(*again[:-1], "a", "--dry-run").code == 2
    assert tree(tmp_path) == before
    hmdc.succeeds(*again)
    first, second = load_condensed("a"), load_condensed("b")
    assert torch.allclose(first.images, second.images, atol=1e-5) and not torch.equal(first.images, second.images)
    assert load_config(tmp_path / "b").images.initialise == f"set:{tmp_path / 'a'}"

    finished = pixels(tmp_path / "b")
    checkpoints = CheckpointFolder(tmp_path / "b" / "checkpoint")
    for path in (tmp_path / "b" / "checkpoint").glob(f"*{max(checkpoints.versions())}.*"):
        path.unlink()  # as if it had been stopped a step earlier
    assert max(checkpoints.versions()) == 2
    hmdc.succeeds(*again, "--resume")
    assert pixels(tmp_path / "b") == finished
    (tmp_path / "copy.parquet").write_bytes((tmp_path / "a" / "condensed.parquet").read_bytes())
    refused = hmdc(*again, "--resume", "--set", "images.initialise=set:copy.parquet")
    assert refused.code == 2 and f"images.initialise is 'set:{tmp_path}/copy.parquet', but the checkpoint in" in refused.err
    assert hmdc("condense", "b", "--set", "images.ipc=2", "--output", "c", "--dry-run").code == 2


def test_a_plan_says_that_images_are_normalised_anew(hmdc: CommandLine, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(tmp_path, schedule={"iterations": 1, "steps": 1}))
    hmdc.succeeds("condense", "tiny.yaml", "--output", "a")
    save_condensed(tmp_path / "other.parquet", replace(load_condensed("a"), mean=(0.25,), std=(0.5,)))
    planned = hmdc.succeeds("condense", "tiny.yaml", "--set", "images.initialise=set:other.parquet", "--dry-run")
    assert "its images, normalised by mean 0.25, std 0.5, are normalised anew by the data's mean " in planned


def test_actors_are_given_the_images_of_the_file(
    ray_local: None, make: Make, file: Path, info: DatasetInfo, three_digits_config: DataConfig
) -> None:
    condensed = make()
    save_condensed(file, condensed)
    config = configuration(file, three_digits_config)
    with launch(given(config), info, file.parent, lambda: None) as pool:
        (snapshot,) = pool.get([pool.server.snapshot()])
    assert torch.equal(torch.tensor(snapshot.images_KICHW).flatten(0, 1), condensed.images)


@pytest.mark.parametrize("formation", [2, 4])
def test_a_set_that_was_decoded_in_another_way_is_told(make: Make, file: Path, info: DatasetInfo, formation: int) -> None:
    def notes(condensed: CondensedSet) -> list[str]:
        save_condensed(file, condensed)
        found = read_initial_set(configuration(file, formation=formation).images, info)
        assert found is not None
        return describe(found, info)

    assert notes(make(formation=formation)) == []
    (note,) = notes(make(formation=formation, decoding="idc"))
    assert "corners not aligned, as IDC's code does; this run aligns corners" in note
