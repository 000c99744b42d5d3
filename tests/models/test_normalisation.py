"""Networks whose weights expect another normalisation than the images have, against normalising by
hand in float64."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.errors import InputError
from hmdc_ray.models import Architecture, ImageShape, Network, Normalisation, build, save_weights
from hmdc_ray.models.normalisation import channel_map
from hmdc_ray.models.torchvision_library import create
from hmdc_ray.models.torchvision_library import normalisation as of_torchvision
from hmdc_ray.seeding import Key

COLOUR, GREY = ImageShape(3, 8, 8), ImageShape(1, 6, 7)
CIFAR, MNIST = (Normalisation(*KNOWN[name]) for name in ("cifar10", "mnist"))
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation((0.5,), (0.5,))
OPTIONS = {"width": 4, "depth": 1}


def pixels(shape: ImageShape) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(5, shape.channels, shape.height, shape.width, generator=draw, dtype=torch.float64)


def normalised(images_BCHW: Tensor, normalisation: Normalisation) -> Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (normalisation.mean, normalisation.std))
    return (images_BCHW - mean) / std


def wide(shape: ImageShape, classes: int) -> Architecture:
    """Three channels of 9x9 pixels; padded, so that the order of resizing, padding and normalising
    counts."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(324, classes))
    return Architecture(module, input_size=(9, 9), input_channels=3, normalisation=IMAGENET)


def convnet(weights: str = "scratch", seed: int = 0, space: Normalisation | None = None, **named: str) -> Network:
    return build("convnet", OPTIONS, COLOUR, 3, Key(seed, "network"), weights, space=space, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "space"), [(COLOUR, CIFAR), (GREY, MNIST), (GREY, HALF)])
def test_a_module_sees_pixels_as_its_weights_expect_them(shape: ImageShape, space: Normalisation) -> None:
    network = build(f"{__name__}:wide", {}, shape, 3, Key(0, "network"), space=space).double()
    images_BCHW = pixels(shape)
    colour_BCHW = normalised(images_BCHW.expand(-1, 3, -1, -1), IMAGENET)
    expected = network.module(F.interpolate(colour_BCHW, (9, 9), mode="bilinear", align_corners=True))
    found = network(normalised(images_BCHW, space))
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(network.observe(normalised(images_BCHW, space)).logits_BK, found)
    assert not torch.allclose(network.module(F.interpolate(images_BCHW.expand(-1, 3, -1, -1), (9, 9))), expected, atol=1e-3)


def test_gradients_go_through_twice() -> None:
    network = build(f"{__name__}:wide", {}, GREY, 3, Key(0, "network"), space=MNIST).double()
    images_BCHW = normalised(pixels(GREY)[:2], MNIST).requires_grad_()
    assert torch.autograd.gradcheck(network, (images_BCHW,)) and torch.autograd.gradgradcheck(network, (images_BCHW,))


@pytest.mark.parametrize("space", [None, IMAGENET])
def test_where_nothing_is_known_or_all_is_equal_images_stay_as_they_are(space: Normalisation | None) -> None:
    network = build(f"{__name__}:wide", {}, COLOUR, 3, Key(0, "network"), space=space)
    seen: list[Tensor] = []
    images_BCHW = torch.nn.functional.interpolate(pixels(COLOUR).float(), (8, 8))
    with network.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        network(images_BCHW)
    assert torch.equal(seen[0], F.interpolate(images_BCHW, (9, 9), mode="bilinear", align_corners=True))
    assert not network.renormalises
    scratch = convnet(space=CIFAR)
    assert torch.equal(scratch(images_BCHW), scratch.module(images_BCHW))
    one = Normalisation((0.5,) * 3, (0.5,) * 3)
    assert channel_map(HALF, one) is None and channel_map(one, HALF) is None and channel_map(HALF, IMAGENET) is not None


def test_the_data_s_statistics_can_be_asked_for() -> None:
    asked = build(f"{__name__}:wide", {}, COLOUR, 3, Key(0, "network"), statistics="data", space=CIFAR)
    assert not asked.renormalises and asked.own is None and asked.space == CIFAR


def test_the_map_is_in_no_state_and_in_every_copy() -> None:
    network = build(f"{__name__}:wide", {}, COLOUR, 3, Key(0, "network"), space=CIFAR)
    plain = build(f"{__name__}:wide", {}, COLOUR, 3, Key(0, "network"))
    assert network.state_dict().keys() == plain.state_dict().keys()
    images_BCHW = normalised(pixels(COLOUR), CIFAR)
    exact = network.double()(images_BCHW)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):  # our own bytes
        assert torch.equal(copied(images_BCHW), exact)
    single = network.float()(images_BCHW.float())
    assert single.dtype == torch.float32 and torch.allclose(single, exact.float(), atol=1e-5)


# Files


def saved(folder: Path, space: Normalisation | None) -> Path:
    save_weights(convnet(space=space), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_weights_say_what_they_were_trained_on(tmp_path: Path) -> None:
    path = saved(tmp_path, CIFAR)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["statistics"]) == {"mean": list(CIFAR.mean), "std": list(CIFAR.std)}
    network = convnet(f"checkpoint:{path}", seed=1, space=IMAGENET).double()
    expected = network.module(normalised(pixels(COLOUR), CIFAR))
    assert torch.allclose(network(normalised(pixels(COLOUR), IMAGENET)), expected, rtol=1e-12, atol=1e-12)
    assert not convnet(f"checkpoint:{path}", space=CIFAR).renormalises
    assert not convnet(f"checkpoint:{path}", space=IMAGENET, statistics="data").renormalises
    save_weights(network.float(), tmp_path / "again.safetensors")  # trained through the map, its own are still the first
    assert convnet(f"checkpoint:{tmp_path / 'again.safetensors'}").own == CIFAR


def test_weights_of_earlier_versions_take_images_as_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path, None)
    assert not convnet(f"checkpoint:{path}", space=CIFAR).renormalises


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "statistics are '[]': must be JSON with 'mean' and 'std'"),
        ('{"mean": [0.5], "std": [0.0]}', "must be JSON with 'mean' and 'std'"),
        ('{"mean": [0.5, 0.5], "std": [1.0, 1.0]}', "statistics are mean 0.5, 0.5, std 1, 1: must be of 3 channels"),
    ],
)
def test_damaged_statistics_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = saved(tmp_path, CIFAR)
    save_file(load_file(path), path, {"statistics": text})
    with pytest.raises(InputError) as caught:
        convnet(f"checkpoint:{path}", space=CIFAR)
    assert str(caught.value).startswith(f"architecture 'convnet': weights '{path}': ") and message in str(caught.value)


def test_a_factory_s_statistics_must_fit_its_channels() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(InputError, match=r"statistics are mean 0.5, 0.5, std 1, 1: must be of 3 channels, as the network"):
        Network(Architecture(module, normalisation=Normalisation((0.5, 0.5), (1.0, 1.0))), COLOUR, 3)
    for mean, std in [((0.5,), (0.0,)), ((float("nan"),), (1.0,)), ((0.5, 0.5), (1.0,)), ((), ())]:
        with pytest.raises(InputError, match="must be finite, one mean and one std above 0"):
            Normalisation(mean, std)


# Libraries


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_torchvision_lets_normalise_anew_are_given_what_they_make_of_it(name: str) -> None:
    with torch.device("meta"):
        plain, anew = (create(name, 3, 3, False, {"transform_input": inside}) for inside in (False, True))
    outside, inside = of_torchvision(name, plain), of_torchvision(name, anew)
    assert outside is not None and inside == IMAGENET
    made = anew._transform_input(normalised(pixels(COLOUR), inside))  # type: ignore[operator]  # what its weights then see
    assert torch.allclose(made, normalised(pixels(COLOUR), outside), atol=1e-12)
