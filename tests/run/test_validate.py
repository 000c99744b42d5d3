"""Checks made before anything is started: networks, taps, formation and splits against the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.schedule import class_parts
from hmdc_ray.models import Architecture, ImageShape, Network, TapSpec, build
from hmdc_ray.pretrain.plan import make_plan
from hmdc_ray.run.validate import validate, validate_students
from hmdc_ray.seeding import Key

MLP = {"architecture": "mlp", "options": {"width": 4}}
CONVNET = {"architecture": "convnet", "options": {"width": 4, "depth": 1}}


def hard(shape: ImageShape, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes), nn.Hardsigmoid())


def without_taps(shape: ImageShape, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes))


class Peculiar(nn.Module):
    """Counts its passes in a buffer, and hands what a test is about to ``change`` while it is
    trained."""

    def __init__(self, change: Callable[[Tensor], Any], classes: int) -> None:
        super().__init__()
        self.change = change
        self.passes: Tensor
        self.register_buffer("passes", torch.zeros(()))
        self.norm = nn.BatchNorm1d(64)
        self.hidden = nn.Sequential(nn.Dropout(0.5), nn.Tanh())
        self.head = nn.Linear(64, classes)

    def forward(self, images_BCHW: Tensor) -> Any:
        self.passes = self.passes + 1
        logits_BK = self.head(self.hidden(self.norm(images_BCHW.flatten(1))))
        return self.change(logits_BK) if self.training else logits_BK


def refuse_few(logits_BK: Tensor) -> Tensor:
    if len(logits_BK) == 2:
        raise ValueError("images are too small\nfor training")
    return logits_BK


CHANGES: dict[str, Callable[[Tensor], Any]] = {
    "none": lambda logits: logits,
    "pair": lambda logits: (logits, logits),
    "named": lambda logits: {"out": logits, "aux": logits},
    "wide": lambda logits: torch.cat([logits, logits], 1),
    "refuses": refuse_few,
    "detached": lambda logits: logits.detach(),
}


def peculiar(shape: ImageShape, classes: int, change: str) -> Architecture:
    return Architecture(Peculiar(CHANGES[change], classes), (TapSpec("hidden", "vector"),))


def shrinks(shape: ImageShape, classes: int) -> Architecture:
    """Half as many tokens in training, as with dropped patches."""

    class Shrinking(nn.Module):
        def forward(self, maps_BCHW: Tensor) -> Tensor:
            return maps_BCHW[:, :, ::2] if self.training else maps_BCHW

    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    module = nn.Sequential(nn.Conv2d(shape.channels, 4, 3), Shrinking(), pooled)
    return Architecture(module, (TapSpec("1", "map"),))


def one_pixel(shape: ImageShape, classes: int) -> nn.Module:
    maps = nn.Conv2d(shape.channels, 4, (shape.height, shape.width))
    return nn.Sequential(maps, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


@pytest.fixture
def info(three_digits: ImageDataset) -> DatasetInfo:
    """Of grey images of 8x8 pixels in three classes."""
    return three_digits.info


def refusal(info: DatasetInfo, **sections: Any) -> str:
    with pytest.raises(InputError) as caught:
        validate(parse_config({"pool": {"members": [MLP]}, "evaluation": {"students": [MLP]}, **sections}, "test"), info)
    return str(caught.value)


def test_the_networks_of_the_pool_come_back_in_order(info: DatasetInfo) -> None:
    config = parse_config({"pool": {"members": [MLP, CONVNET]}, "evaluation": {"students": [MLP]}}, "test")
    networks = validate(config, info)
    assert [len(network.taps) for network in networks] == [2, 1]
    assert all(network.classes == 3 and network.image_shape == info.shape for network in networks)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"pool": {"members": [MLP, {"architecture": "lenet", "name": "second"}]}},
            "pool.members.second: architecture 'lenet': images are 1x8x8, must be at least 12x12 pixels",
        ),
        ({"pool": {"members": ["vitt"]}}, "pool.members.vitt: architecture 'vitt': unknown, did you mean 'vit'?"),
        (
            {"pool": {"members": [{"architecture": "mlp", "options": {"widht": 4}}]}},
            "pool.members.mlp: architecture 'mlp': unknown option 'widht': did you mean 'width'?",
        ),
        ({"evaluation": {"students": [MLP, "lenet"]}}, "evaluation.students.lenet: architecture 'lenet': images are 1x8x8"),
        ({"images": {"formation": 3}}, "images.formation is 3, which does not divide the image size 8x8"),
        (
            {"evaluation": {"students": [MLP], "distillation": {"teacher": {"architecture": "lenet"}}}},
            "evaluation.distillation.teacher: architecture 'lenet': images are 1x8x8",
        ),
        (
            {"pool": {"members": [{**MLP, "weights": "checkpoint:nowhere.safetensors"}]}},
            "pool.members.mlp: architecture 'mlp': weights 'nowhere.safetensors' cannot be read (no such file)",
        ),
        (
            {"pool": {"members": [{**CONVNET, "random_options": {"norm": ["batch", "layer"], "depth": [1, 2, 4]}}]}},
            "pool.members.convnet with random_options.depth 4: architecture 'convnet': images are 1x8x8, must be at least",
        ),
        (
            {"pool": {"members": [{**CONVNET, "random_options": {"pool": ["max", "avg"]}}]}},
            "pool.members.convnet: architecture 'convnet': unknown option 'pool'",
        ),
        ({"cluster": {"server_shards": 4}}, "has 3 classes, which shards share: use at most as many"),
    ],
    ids=["too small", "unknown", "option", "student", "formation", "teacher", "weights", "drawn", "drawn name", "shards"],
)
def test_what_does_not_fit_is_named_with_its_field(info: DatasetInfo, sections: dict[str, Any], message: str) -> None:
    assert message in refusal(info, **sections)


def test_more_processes_of_the_server_than_classes_are_refused_only_where_asked_for(info: DatasetInfo) -> None:
    crowd = [{**MLP, "name": f"mlp{number}"} for number in range(100)]
    config = parse_config({"pool": {"members": crowd}, "evaluation": {"students": [MLP]}}, "test")
    assert config.server_shards == 4 > len(class_parts(3, config.server_shards))
    assert len(validate(config, info)) == 100


def test_features_of_single_images_cannot_be_standardised(info: DatasetInfo) -> None:
    sections = {
        "pool": {"members": [MLP, {**MLP, "name": "other"}]},
        "schedule": {"batch": 1},
        "evaluation": {"students": [MLP]},
    }
    distils = {"mutual_distillation": True}
    assert len(validate(parse_config({**sections, "matching": distils}, "test"), info)) == 2
    message = refusal(info, **sections, matching={**distils, "agreement": "standardised"})
    assert message.startswith("schedule.batch is 1, but matching.agreement 'standardised' needs the spread of features")


def test_mutual_distillation_needs_taps(info: DatasetInfo) -> None:
    bare = {"architecture": f"{__name__}:without_taps", "name": "bare"}
    sections = {"pool": {"members": [MLP, bare]}, "evaluation": {"students": [MLP]}}
    assert len(validate(parse_config(sections, "test"), info)) == 2
    message = refusal(info, **sections, matching={"mutual_distillation": True})
    assert message.startswith(f"pool.members.bare ('{__name__}:without_taps') has no taps, which matching")
    alone = {"pool": {"members": [bare]}, "matching": {"mutual_distillation": True}, "evaluation": {"students": [MLP]}}
    assert len(validate(parse_config(alone, "test"), info)) == 1


def test_class_sizes_are_those_of_the_training_split(three_digits: ImageDataset) -> None:
    sizes = tuple(len(three_digits.class_rows("train", label)) for label in range(3))
    assert three_digits.info.class_sizes == sizes and sizes[0] > sizes[1] > sizes[2]


def test_one_class_cannot_be_condensed(info: DatasetInfo) -> None:
    assert "has 1 class, condensation needs at least 2" in refusal(replace(info, class_names=("only",)))


def test_students_need_images_to_be_judged_on(info: DatasetInfo) -> None:
    empty = replace(info, sizes={**info.sizes, "validation": 0})
    config = parse_config({"evaluation": {"students": [MLP], "split": "validation"}}, "test")
    with pytest.raises(InputError, match=r"evaluation\.split is 'validation', which has no images in data"):
        validate_students(config, empty)
    validate_students(config, info)


def test_random_options_may_hold_every_convnet_of_the_model_pool(info: DatasetInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def counted(architecture: str, options: dict[str, Any], *rest: Any, **named: Any) -> Network:
        made.append(options)
        return build(architecture, options, *rest, **named)

    monkeypatch.setattr("hmdc_ray.models.registry.build", counted)
    choices = {
        "activation": ["sigmoid", "relu", "leakyrelu", "swish"],
        "norm": ["batch", "layer", "instance", "group"],
        "pooling": ["max", "avg"],
    }
    member = {**CONVNET, "random_options": choices}
    (network,) = validate(parse_config({"pool": {"members": [member]}, "evaluation": {"students": [MLP]}}, "test"), info)
    assert dict(network.options) == {"width": 4, "depth": 1, "activation": "sigmoid", "norm": "batch", "pooling": "max"}
    for option, values in choices.items():
        assert {options[option] for options in made if "pooling" in options} == set(values)
    assert len(made) == 1 + 3 + 3 + 1 + 1


def test_equal_networks_are_built_once(info: DatasetInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(architecture: str, *rest: Any, **named: Any) -> Network:
        made.append(architecture)
        return build(architecture, *rest, **named)

    monkeypatch.setattr("hmdc_ray.models.registry.build", counted)
    members = [MLP, {**MLP, "name": "again"}, {**MLP, "name": "wider", "options": {"width": 5}}]
    networks = validate(parse_config({"pool": {"members": members}, "evaluation": {"students": [MLP]}}, "test"), info)
    assert made == ["mlp", "mlp"] and networks[0] is networks[1] is not networks[2]


def test_a_member_needs_a_second_derivative_and_a_student_does_not(info: DatasetInfo) -> None:
    network = {"architecture": f"{__name__}:hard", "name": "hard"}
    message = refusal(info, pool={"members": [MLP, network]})
    assert message.startswith(f"pool.members.hard ('{__name__}:hard') has no second derivative (derivative for aten::hardsigm")
    validate(parse_config({"pool": {"members": [MLP]}, "evaluation": {"students": [network]}}, "test"), info)


@pytest.mark.parametrize(
    ("images", "needed", "largest"),
    [({"ipc": 30, "initialise": "real"}, 30, 14), ({"ipc": 4, "formation": 2, "initialise": "kmeans"}, 16, 3)],
)
def test_the_smallest_class_bounds_the_images_per_class(
    info: DatasetInfo, images: dict[str, Any], needed: int, largest: int
) -> None:
    assert info.class_sizes[2] == min(info.class_sizes) == 14
    message = refusal(info, images=images)
    assert message.startswith(
        f"class '2' has 14 training images, the fewest of all, images.initialise '{images['initialise']}'"
    )
    assert f"needs {needed} " in message and f"the largest possible ipc is {largest})" in message
    sections = {"pool": {"members": [MLP]}, "evaluation": {"students": [MLP]}}
    for admitted in ({**images, "ipc": largest}, {**images, "initialise": "noise"}):
        validate(parse_config({**sections, "images": admitted}, "test"), info)


def network_of(change: str) -> dict[str, Any]:
    return {"name": "own", "architecture": f"{__name__}:peculiar", "options": {"change": change}}


TRAINED = {"steps": 3, "training": "real"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pair", "returns a tuple in training mode, must return logits of shape ({images}, 3) as in evaluation mode"),
        ("named", "returns a dict in training mode"),
        ("wide", "returns shape ({images}, 6) in training mode"),
        ("detached", "cannot be {done} (element 0 of tensors does not require grad"),
    ],
)
def test_networks_are_looked_at_in_training_mode(info: DatasetInfo, change: str, message: str) -> None:
    network, named = network_of(change), f"own ('{__name__}:peculiar') "
    told = refusal(info, pool={"members": [network]})
    assert told.startswith(f"pool.members.{named}{message.format(images=1, done='matched')}")
    for section, field in (
        ({"students": [MLP, network]}, "evaluation.students."),
        ({"students": [MLP], "distillation": {"teacher": network}}, "evaluation.distillation.teacher ('"),
    ):
        told = refusal(info, evaluation=section)
        assert told.startswith(field) and message.format(images=2, done="trained") in told
    with pytest.raises(InputError) as caught:
        make_plan(parse_config({"pool": {"members": [network]}}, "test"), info, None, "test", 60.0)
    assert str(caught.value).startswith(f"network 'own' ('{__name__}:peculiar') " + message.format(images=2, done="trained"))


def test_members_are_tried_with_the_training_that_they_will_have(info: DatasetInfo) -> None:
    network = network_of("refuses")
    sections = {"pool": {"members": [network]}, "evaluation": {"students": [MLP]}}
    for untrained in ({"training": "none", "steps": 3}, {"training": "real", "steps": 1}):
        validate(parse_config({**sections, "schedule": untrained}, "test"), info)
    for training in ("real", "synthetic"):
        told = refusal(info, **sections, schedule={"steps": 3, "training": training})
        assert told == (
            f"pool.members.own ('{__name__}:peculiar') fails in training mode on 2 images of 1x8x8 (images are too small): "
            "must work there as in evaluation mode"
        )


def test_batches_of_one_image_are_refused_where_a_network_cannot_learn_from_them(info: DatasetInfo) -> None:
    members = [{"name": "own", "architecture": f"{__name__}:one_pixel"}]
    for alone in ({"batch": 1}, {"real_images": 1}):
        told = refusal(info, pool={"members": members}, schedule={**TRAINED, **alone})
        assert "fails in training mode on 1 image of 1x8x8 (Expected more than 1 value per channel" in told
        assert told.endswith("see schedule.batch and schedule.real_images")
        validate(parse_config({"pool": {"members": [MLP]}, "schedule": {**TRAINED, **alone}}, "test"), info)
    left_over = {**TRAINED, "batch": info.sizes["train"] - 1}
    validate(parse_config({"pool": {"members": members}, "schedule": left_over}, "test"), info)


def test_features_have_the_same_size_in_training(info: DatasetInfo) -> None:
    pool = {"members": [{"name": "own", "architecture": f"{__name__}:shrinks"}, MLP]}
    validate(parse_config({"pool": pool, "evaluation": {"students": [MLP]}}, "test"), info)
    told = refusal(info, pool=pool, matching={"mutual_distillation": True})
    assert told.endswith("is another network in training mode: tap '1' must have the size of evaluation mode")


def test_what_is_tried_leaves_no_trace(info: DatasetInfo) -> None:
    network, state = network_of("none"), torch.get_rng_state()
    sections = {"pool": {"members": [network, MLP]}, "evaluation": {"students": [network]}, "schedule": TRAINED}
    tried, _ = validate(parse_config({**sections, "matching": {"mutual_distillation": True}}, "test"), info)
    fresh = build(network["architecture"], network["options"], info.shape, 3, Key(0, "network"))
    assert all(torch.equal(tensor, tried.state_dict()[name]) for name, tensor in fresh.state_dict().items())
    assert all(module.training for module in tried.modules())
    assert all(parameter.grad is None for parameter in tried.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_equal_networks_are_tried_once(info: DatasetInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def counted(network: Network, images: int, observed: bool = False) -> None:
        tried.append(images)

    monkeypatch.setattr("hmdc_ray.run.validate.rehearse_training", counted)
    students = [{**MLP, "name": name} for name in "abc"]
    validate(parse_config({"pool": {"members": [MLP]}, "evaluation": {"students": students}}, "test"), info)
    assert tried == [2]
