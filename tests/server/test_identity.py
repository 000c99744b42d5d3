"""What a run may be resumed from: runs that were begun when something was computed otherwise may
not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity.runs import members

from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import MemberDescription, MemberTaps, State
from hmdc_ray.models.network import Tap
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.run.resume import resume_from
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder
from hmdc_ray.server.identity import agreeing, identity

TWO = [{"architecture": "convnet"}, {"architecture": "vit"}]


def run(**sections: Any) -> RunConfig:
    return RunConfig.model_validate({"images": {"initialise": "real"}, "cluster": {"threads": 1}, **sections})


def saved(folder: Path, config: RunConfig, info: DatasetInfo, made_with: dict[str, Any]) -> int:
    """Resume from a checkpoint of that identity."""
    shape = (len(info.class_names), 1, info.shape.channels, info.shape.height, info.shape.width)
    arrays: dict[str, np.ndarray] = {name: np.zeros(shape, np.float32) for name in ("images", "momentum", "history", "losses")}
    checkpoints = CheckpointFolder.of_run(folder, config.schedule)
    checkpoints.save(1, {SERVER: State(arrays, {"version": 1})}, json.loads(json.dumps(made_with)))
    return resume_from(folder, config, info)[0]


CONCERNED: dict[str, tuple[RunConfig, ImageShape | None, str]] = {
    "float64": (run(matching={"precision": "float64"}), None, "computed in float64 as well"),
    "k-means sampler": (run(matching={"sampler": "kmeans"}), None, "the first is chosen, where rounding chose"),
    "k-means start": (run(images={"initialise": "kmeans"}), None, "the first is chosen, where rounding chose"),
    "crop": (run(matching={"augmentation": "dsa"}), ImageShape(1, 16, 20), "reach one pixel further"),
    "distillation": (run(matching={"mutual_distillation": True}, pool={"members": TWO}), None, "aligners are trained before"),
    "training": (run(matching={"augmentation": "dsa"}, schedule={"training": "synthetic"}), None, "is varied on its own"),
    "dropout": (
        run(pool={"members": [{"architecture": "parity.networks:with_dropout"}]}, schedule={"training": "synthetic"}),
        None,
        "dropout is drawn anew for every training batch",
    ),
    "cutmix": (
        run(pool={"members": [TWO[0] | {"cutmix": True}]}, schedule={"training": "real"}),
        None,
        "CutMix boxes truncate",
    ),
}


@pytest.mark.parametrize("name", CONCERNED)
def test_a_run_from_before_a_correction_that_concerns_it_is_refused(
    name: str, three_digits: ImageDataset, tmp_path: Path
) -> None:
    config, shape, sentence = CONCERNED[name]
    info = replace(three_digits.info, shape=shape or three_digits.info.shape)
    now = identity(config, info)
    before = {key: value for key, value in now.items() if key != "corrections"}
    with pytest.raises(InputError, match=f"the checkpoint in .* was made by another version .*{sentence}.* --overwrite"):
        saved(tmp_path / "before", config, info, before)
    assert saved(tmp_path / "now", config, info, now) == 1


def test_a_run_whose_aligners_nothing_trained_is_told_so_and_not_of_fields_that_it_could_not_have(
    three_digits: ImageDataset, tmp_path: Path
) -> None:
    config = run(matching={"mutual_distillation": True}, pool={"members": TWO})
    before = identity(config, three_digits.info)
    del before["corrections"], before["config"]["matching"]["agreement"], before["config"]["matching"]["aligner_images"]
    with pytest.raises(InputError, match=r"made by another version .*aligners are trained before every step"):
        saved(tmp_path, config, three_digits.info, before)


UNCONCERNED: dict[str, tuple[RunConfig, ImageShape | None]] = {
    "plain": (run(), None),
    "no crop": (run(matching={"augmentation": "dsa", "families": ["flip", "scale"]}), ImageShape(1, 20, 20)),
    "sides alike": (run(matching={"augmentation": "idc"}), ImageShape(1, 28, 28)),
    "no distillation": (run(pool={"members": TWO}), None),
    "one member": (run(matching={"mutual_distillation": True}, pool={"members": TWO[:1]}), None),
    "one drawn": (run(matching={"mutual_distillation": True}, pool={"members": TWO, "active": 1}), None),
    "training without augmentation": (run(schedule={"training": "synthetic"}), None),
    "nothing trained": (run(matching={"augmentation": "dsa"}, pool={"members": [TWO[0] | {"cutmix": True}]}), None),
}


@pytest.mark.parametrize("name", UNCONCERNED)
def test_other_runs_are_resumed(name: str, three_digits: ImageDataset, tmp_path: Path) -> None:
    config, shape = UNCONCERNED[name]
    info = replace(three_digits.info, shape=shape or three_digits.info.shape)
    now = identity(config, info)
    assert now.keys() == {"config", "data"}
    assert saved(tmp_path, config, info, now) == 1


def test_a_field_that_was_changed_is_named_first(three_digits: ImageDataset, tmp_path: Path) -> None:
    before = identity(run(), three_digits.info)
    with pytest.raises(
        InputError, match=r"matching.precision is 'float64', but the checkpoint in .* was made with 'float32': "
    ):
        saved(tmp_path, run(matching={"precision": "float64"}), three_digits.info, before)


def test_statistics_that_a_record_brings_are_part_of_a_run(
    three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    before = identity(run(data=three_digits_config), three_digits.info)
    by_record = replace(three_digits.info, source_name="mnist", statistics="mnist")
    config = run(data=three_digits_config)
    with pytest.raises(InputError, match=r"data.statistics is 'mnist', but the checkpoint in .* was made with 'own': resume"):
        saved(tmp_path / "a", config, by_record, before)
    own = run(data=three_digits_config.model_copy(update={"statistics": "own"}))
    assert saved(tmp_path / "b", own, replace(three_digits.info, source_name="mnist"), before) == 1
    stated = run(data=three_digits_config.model_copy(update={"statistics": "mnist"}))
    assert identity(stated, by_record) == identity(config, by_record)


def test_fields_that_have_come_since_are_of_the_identity_only_where_they_change_images(three_digits: ImageDataset) -> None:
    plain = identity(run(), three_digits.info)["config"]["matching"]
    assert not {"agreement", "aligner_images", "probe_every"} & plain.keys()
    distilling = run(matching={"mutual_distillation": True, "probe_every": 7}, pool={"members": TWO})
    found = identity(distilling, three_digits.info)["config"]["matching"]
    assert (found["agreement"], found["aligner_images"]) == ("mse", 2000) and "probe_every" not in found


# Who agrees with whom while memory is measured


def described(name: str, *taps: tuple[int, int]) -> MemberDescription:
    """A member with taps of so many channels and such a side; 0: a vector."""
    kinds = [Tap("tap", "map" if side else "vector", channels, side, side) for channels, side in taps]
    return MemberDescription(name, 1, "cpu", (), "", 1, 1, "", MemberTaps(name, tuple(kinds)))


CONVNET = described("convnet", (128, 16), (128, 8), (128, 4))
VIT = described("vit", *[(96, 4)] * 4)
MLP = described("mlp", (64, 0), (64, 0))


def agreed(active: int | None, *, probabilities: tuple[float, ...] | None = None, **matching: Any) -> dict[str, list[str]]:
    chances = [{}] * 3 if probabilities is None else [{"probability": value} for value in probabilities]
    pool = [
        {"name": name, "architecture": "mlp"} | chance for name, chance in zip(("convnet", "vit", "mlp"), chances, strict=True)
    ]
    config = run(pool={"members": pool, "active": active}, matching={"mutual_distillation": True, **matching})
    found = agreeing(config, [CONVNET, VIT, VIT, MLP])  # a replica
    return {name: sorted(taps.name for taps in members) for name, members in found.items()}


def test_members_are_measured_with_those_of_the_draw_that_has_the_largest_features() -> None:
    everyone = sorted(["convnet", "vit", "mlp"])
    assert agreed(None) == agreed(3) == dict.fromkeys(("convnet", "vit", "mlp"), everyone)
    two = agreed(2)
    assert two["convnet"] == two["vit"] == ["convnet", "vit"]  # 3 x 17 x 96 numbers of an image
    # The MLP has 2 x 1 x 64 of them with the network that is the larger one too, for what is drawn
    # with it brings a map.
    assert two["mlp"] in (["convnet", "mlp"], ["mlp", "vit"])
    never = agreed(2, probabilities=(0.5, 0.0, 0.5))
    assert never == {"convnet": ["convnet", "mlp"], "vit": [], "mlp": ["convnet", "mlp"]}


def test_members_that_agree_with_none_need_not_be_asked_for_their_taps() -> None:
    config = run(pool={"members": TWO}, matching={"mutual_distillation": False})
    alone: dict[str, list[MemberTaps]] = {"convnet": [], "vit": []}
    assert agreeing(config, (1 / 0 for _ in [0])) == alone  # type: ignore[misc]
    drawn = run(pool={"members": TWO, "active": 1}, schedule={"iterations": 2})
    assert agreeing(drawn, []) == alone


def test_a_draw_of_two_sends_larger_messages_than_all_three(three_digits_config: DataConfig) -> None:
    """As measured: two members have two taps, the third one and 4 channels."""

    def message(name: str, active: int | None) -> int:
        pool = {"members": members("deep", "vit", "shallow"), "active": active}
        config = run(data=three_digits_config, pool=pool, matching={"mutual_distillation": True, "real_batch": 6})
        workers = {member.name: PoolWorker(index, config) for index, member in enumerate(config.pool.members)}
        found = agreeing(config, [worker.build() for worker in workers.values()])
        return workers[name].measure(found[name]).footprint.message

    assert message("deep", 2) > 2 * message("deep", None) > 0
    assert message("shallow", 2) == message("deep", None)  # in every draw with it there is one tap of 4 channels
