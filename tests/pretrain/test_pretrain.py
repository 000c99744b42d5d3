"""Pre-training: what is trained, on which batches, from which checkpoint, and into which folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
import torch
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from safetensors.torch import load_file

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.config.presets import preset
from hmdc_ray.data.cutmix import Mixed
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.errors import InputError, RunError
from hmdc_ray.evaluation.protocol import PROTOCOLS, Recipe
from hmdc_ray.models import build
from hmdc_ray.pretrain import fit
from hmdc_ray.pretrain.batches import GlobalBatches, Group, Part
from hmdc_ray.pretrain.folder import Record, claim, clear, resumed_record, storage_location, write_record
from hmdc_ray.pretrain.plan import DEFAULT_EPOCHS, Plan, make_plan
from hmdc_ray.pretrain.train_networks import Course, Position
from hmdc_ray.seeding import Key

CPU = torch.device("cpu")
KEY = Key(3, "network", member=7)
PLAIN = replace(PROTOCOLS["dc"].plain, batch=20, epochs=4)
MIXED = replace(PROTOCOLS["idc"].varied, batch=20, epochs=4)


class Kept:
    """Keeps the last checkpoint in a folder; asks to stop after so many epochs."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        self.folder = folder
        self.checkpoints = 0
        self.epochs: list[tuple[str, int, int]] = []
        self._stop_after = stop_after

    @property
    def last(self) -> Path:
        return self.folder / str(self.checkpoints)

    def checkpoint(self, write: Callable[[Path], None]) -> None:
        self.checkpoints += 1
        self.last.mkdir(parents=True)
        write(self.last)

    def epoch_done(self, name: str, epoch: int, epochs: int) -> bool:
        self.epochs.append((name, epoch, epochs))
        return len(self.epochs) == self._stop_after


def course(plan: Plan, outside: Kept, folder: Path, checkpoint: Path | None = None) -> Position:
    folder.mkdir()
    Course(plan, Group(), CPU, outside, folder).run(checkpoint)
    return Position.read(outside.last)


@pytest.fixture
def config(three_digits_config: Any) -> RunConfig:
    return parse_config(
        {
            "seed": 3,
            "data": three_digits_config.model_dump(),
            "pool": {
                "members": [
                    {"name": "thin", "architecture": "convnet", "options": {"width": 8, "depth": 1}},
                    {"name": "drawn", "architecture": "convnet", "random_options": {"norm": ["batch", "instance"]}},
                ]
            },
            "evaluation": {"students": ["mlp", "convnet"], "whole_data_epochs": 4},
        },
        "test",
    )


def planned(config: RunConfig, architectures: str | None = None, seconds: float = 0.0) -> Plan:
    return make_plan(config, open_dataset(config.data).info, architectures, "validation", seconds)


def identity(config: RunConfig, architectures: str | None = None) -> dict[str, Any]:
    return planned(config, architectures).identity(open_dataset(config.data).info)


# Batches


def whole(parts: list[Part], field: str) -> torch.Tensor:
    return torch.cat([getattr(part.mixed, field) for part in parts if part.weight])


@pytest.mark.parametrize("recipe", [PLAIN, replace(PROTOCOLS["dc"].varied, batch=20), MIXED], ids=["plain", "crop", "cutmix"])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_one_global_batch(three_digits: ImageDataset, recipe: Recipe, workers: int) -> None:
    batches = GlobalBatches(three_digits, recipe, KEY, CPU)
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for batch in range(len(batches)):
        alone = batches.part(1, batch, Group())
        parts = [batches.part(1, batch, Group(worker, workers)) for worker in range(workers)]
        for field in ("images", "labels", "pasted_labels"):
            assert torch.equal(whole(parts, field), getattr(alone.mixed, field))
        assert sum(part.weight for part in parts) == pytest.approx(workers)
        count = len(alone.mixed.labels)
        shares = logits[:count].split([len(part.mixed.labels) if part.weight else 0 for part in parts])
        mean = sum(part.loss(share) for part, share in zip(parts, shares, strict=True) if len(share)) / workers
        assert float(mean) == pytest.approx(float(alone.loss(logits[:count])), rel=1e-6)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(three_digits: ImageDataset) -> None:
    batches = GlobalBatches(three_digits, PLAIN, KEY, CPU)
    epochs = [
        torch.cat([batches.part(epoch, batch, Group()).mixed.images for batch in range(len(batches))]) for epoch in (0, 1)
    ]
    assert len(epochs[0]) == three_digits.info.sizes["train"]
    assert not torch.equal(epochs[0], epochs[1])
    for images in epochs:
        assert torch.equal(images.flatten(1).sum(1).sort().values, epochs[0].flatten(1).sum(1).sort().values)
    assert torch.equal(batches.part(0, 2, Group()).mixed.images, epochs[0][40:60])  # also after another epoch


@pytest.mark.parametrize("recipe", [PLAIN, MIXED], ids=["plain", "mixed"])
@pytest.mark.parametrize(("left", "workers", "sizes"), [(2, 2, [2, 0]), (3, 3, [3, 0, 0]), (5, 3, [3, 2, 0]), (4, 2, [2, 2])])
def test_no_worker_takes_a_single_image_and_one_without_counts_nothing(
    three_digits: ImageDataset, recipe: Recipe, left: int, workers: int, sizes: list[int]
) -> None:
    recipe = replace(recipe, batch=three_digits.info.sizes["train"] - left)
    batches = GlobalBatches(three_digits, recipe, KEY, CPU)
    assert len(batches) == 2
    parts = [batches.part(0, 1, Group(worker, workers)) for worker in range(workers)]
    assert [part.weight for part in parts] == [workers * size / left for size in sizes]
    assert [len(part.mixed.images) for part in parts] == [size or 2 for size in sizes]
    assert torch.equal(whole(parts, "images"), batches.part(0, 1, Group()).mixed.images)
    assert (
        float(Part(Mixed(torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.zeros(1), 1.0), 0.0).loss(torch.ones(1, 3)))
        == 0
    )


def test_a_single_image_left_over_joins_the_batch_before_it(three_digits: ImageDataset) -> None:
    images = three_digits.info.sizes["train"]
    batches = GlobalBatches(three_digits, replace(PLAIN, batch=images - 1), KEY, CPU)
    assert [len(batches.part(0, batch, Group()).mixed.images) for batch in range(len(batches))] == [images]


# Plan


def test_fixed_members_and_other_students_are_trained(config: RunConfig) -> None:
    plan = planned(config)
    assert [network.name for network in plan.networks] == ["thin", "mlp", "convnet"]
    assert {recipe.epochs for recipe in plan.recipes} == {4}
    assert [network.architecture for network in planned(config, "mlp, thin,convnet").networks] == ["mlp", "convnet", "convnet"]


def test_a_recipe_is_that_of_the_whole_data_student() -> None:
    digits = preset("digits")
    students = [student.model_copy(update={"learning_rate": 0.5}) for student in digits.evaluation.students]
    evaluation = digits.evaluation.model_copy(update={"students": tuple(students), "protocol": "idc"})
    plan = planned(digits.model_copy(update={"evaluation": evaluation}), "convnet")
    (recipe,) = plan.recipes
    assert (recipe.epochs, recipe.learning_rate, recipe.variation) == (DEFAULT_EPOCHS, 0.5, "idc")
    assert recipe.families == digits.matching.families and "flip" not in recipe.families


@pytest.mark.parametrize(
    ("architectures", "message"),
    [
        ("mlp,,convnet", "'mlp,,convnet': must be names with commas"),
        ("mlp,thin,mlp", "'mlp' is given twice"),
        ("drawn", "pool.members.drawn redraws its options norm"),
        ("convnett", "network 'convnett': architecture 'convnett': unknown, did you mean 'convnet'?"),
    ],
)
def test_networks_that_cannot_be_trained(config: RunConfig, architectures: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        planned(config, architectures)


def test_a_split_without_images(config: RunConfig) -> None:
    info = replace(open_dataset(config.data).info, sizes={"train": 60, "validation": 0, "test": 9})
    with pytest.raises(InputError, match=r"--split is 'validation', which has no images .* data.validation_fraction"):
        make_plan(config, info, "mlp", "validation", 0)


@pytest.mark.parametrize(("statistics", "variation"), [("mnist", "crop_scale_rotate"), ("fashionmnist", "none")])
def test_mnist_is_varied_as_its_students_are(config: RunConfig, statistics: str, variation: str) -> None:
    plan = planned(parse_config(config.model_dump() | {"data": {**config.data.model_dump(), "statistics": statistics}}, "test"))
    assert {recipe.variation for recipe in plan.recipes} == {variation}


@pytest.mark.parametrize(
    ("precision", "num_gpus", "found"), [("tf32", 1, "tf32"), ("bfloat16", 0.5, "ieee"), ("tf32", 0, None)]
)
def test_the_format_of_gpus_is_part_of_a_training(
    config: RunConfig, precision: str, num_gpus: float, found: str | None
) -> None:
    evaluation = config.evaluation.model_dump() | {"num_gpus": num_gpus}
    changed = config.model_dump() | {"matching": {"precision": precision}, "evaluation": evaluation}
    assert identity(parse_config(changed, "test"), "mlp")["GPU format"] == found


# Course


def test_a_course_that_was_stopped_goes_on_to_the_same_bits(config: RunConfig, tmp_path: Path) -> None:
    data = {"evaluation": {"protocol": "idc", "whole_data_epochs": 3, "students": ["mlp"]}}
    plan = planned(parse_config({**config.model_dump(), **data}, "test"), "thin,mlp")
    plan = replace(plan, recipes=tuple(replace(recipe, batch=20) for recipe in plan.recipes))
    straight = Kept(tmp_path / "straight")
    expected = course(plan, straight, tmp_path / "a")

    stopped = Kept(tmp_path / "stopped", stop_after=4)  # in the first epoch of the second network
    halfway = course(plan, stopped, tmp_path / "b")
    assert [*halfway.accuracies] == ["thin"] and len(stopped.epochs) == 4
    resumed = Kept(tmp_path / "resumed")
    assert course(plan, resumed, tmp_path / "c", stopped.last) == expected
    assert resumed.epochs == [("mlp", 2, 3), ("mlp", 3, 3)]
    for name in ("thin.safetensors", "mlp.safetensors"):
        found, wanted = (load_file(outside.last / name) for outside in (resumed, straight))
        assert all(torch.equal(found[key], wanted[key]) for key in found.keys() | wanted.keys())
    assert straight.checkpoints == 6 and [*expected.losses] == ["thin", "mlp"]


def test_a_falling_rate_forgets_momentum_where_the_recipe_says_so(config: RunConfig, tmp_path: Path) -> None:
    plan = planned(config, "mlp")
    fresh = replace(plan.recipes[0], epochs=8)
    recipes = {"never": replace(fresh, milestones=()), "fresh": fresh, "kept": replace(fresh, fresh_optimiser=False)}
    curves = []
    for name, recipe in recipes.items():
        found = course(replace(plan, recipes=(recipe,)), Kept(tmp_path / name), tmp_path / f"{name}-scratch")
        curves.append(found.losses["mlp"])
    (fall,) = fresh.falls
    assert [len(curve) for curve in curves] == [9, 9, 9]  # one step an epoch
    assert len({tuple(curve[: fall + 1]) for curve in curves}) == 1  # the lower rate acts after this epoch's loss
    assert len({tuple(curve[fall + 1 :]) for curve in curves}) == 3


def test_checkpoints_keep_their_distance(config: RunConfig, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    course(planned(config, "mlp,convnet", seconds=1e9), kept, tmp_path / "scratch")
    assert kept.checkpoints == 2  # one for each finished network


def test_members_load_the_weights(config: RunConfig, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    position = course(planned(config, "thin"), kept, tmp_path / "scratch")
    file, info = kept.last / "thin.safetensors", open_dataset(config.data).info
    member = build("convnet", {"width": 8, "depth": 1}, info.shape, 3, KEY, f"checkpoint:{file}")
    assert all(torch.equal(tensor, load_file(file)[name]) for name, tensor in member.module.state_dict().items())
    assert position.losses["thin"][-1] < position.losses["thin"][0]
    assert position.accuracies["thin"] > 1 / 3


def test_a_training_that_diverges_says_so(config: RunConfig, tmp_path: Path) -> None:
    plan = planned(config, "mlp")
    plan = replace(plan, recipes=(replace(plan.recipes[0], learning_rate=1e30),))
    with pytest.raises(RunError, match=r"network 'mlp': the loss is not finite in epoch \d; .* learning rate 1e\+30"):
        course(plan, Kept(tmp_path / "kept"), tmp_path / "scratch")


# Folder


def resumed(config: RunConfig, folder: Path, storage: str | None = None, **sections: Any) -> Record:
    """The record in the folder for a configuration with some fields replaced."""
    fields = {name: {**getattr(config, name).model_dump(), **value} for name, value in sections.items()}
    changed = parse_config(config.model_dump() | fields, "test")
    return resumed_record(folder, storage, planned(changed), open_dataset(changed.data).info)


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


def begun_before(config: RunConfig, folder: Path, values: dict[str, str] | None = None, *drop: str) -> Record:
    """Write the record of a training that a version began whose recipes had fewer fields, and some of other values."""
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
        resumed_record(tmp_path, None, planned(config), info)


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
        resumed_record(tmp_path, None, planned(config), info)
    record = Record.fresh("tiny", storage_location(None, tmp_path), identity(config))
    write_record(tmp_path, record)
    assert resumed_record(tmp_path, None, planned(config), info) == record


def test_another_protocol_than_before_is_told_as_such(config: RunConfig, tmp_path: Path) -> None:
    begun_before(config, tmp_path)
    with pytest.raises(
        InputError, match=r"^thin.extra_epoch is 'False', but .* begun with 'True' \(also .*mlp.decay.*: resume"
    ):
        resumed(config, tmp_path, evaluation={"protocol": "idc"})


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


# Cluster


def test_a_cluster_that_is_too_small_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 3.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])
    assert fit.require_resources(3, 2, 0) == {"CPU": 2.0}
    assert fit.require_resources(2, 1, 0.5) == {"CPU": 1.0, "GPU": 0.5}
    with pytest.raises(InputError, match="--workers is 4, each with 2 CPU, but the cluster has room for 3"):
        fit.require_resources(4, 2, 0)
    with pytest.raises(InputError, match=r"--workers is 2, each with 1 GPU, .* room for 1: .* smaller evaluation.num_gpus"):
        fit.require_resources(2, 1, 1)


@pytest.mark.parametrize("storage", ["{file}/folder", "nowhere://bucket/folder"])
def test_a_storage_that_cannot_be_written(tmp_path: Path, storage: str) -> None:
    (tmp_path / "file").touch()
    storage = storage.format(file=tmp_path / "file")
    with pytest.raises(InputError, match=r"storage path '.*' cannot be written \(.*\): give a folder, or an address"):
        fit.run_config("name", storage)


def test_a_failure_is_told_in_a_line() -> None:
    def raised(error: Exception) -> Exception:
        return UserExceptionWithTraceback(error, "Traceback")

    wrong = InputError("data.source is 'x', which does not exist")
    told = fit._cause(ray.train.WorkerGroupError("text", {1: ActorDiedError(), 0: raised(wrong)}))
    assert isinstance(told, InputError) and str(told) == str(wrong)
    died = fit._cause(ray.train.WorkerGroupError("text", {0: raised(RuntimeError("connection closed")), 1: ActorDiedError()}))
    assert isinstance(died, RunError) and "workers died 4 times (The actor died" in str(died) and "\n" not in str(died)
    bug = ray.train.WorkerGroupError("text", {0: raised(KeyError("x"))})
    assert fit._cause(bug) is bug


def test_the_record_is_json(tmp_path: Path, config: RunConfig) -> None:
    found = identity(config)
    assert json.loads(json.dumps(found)) == found
