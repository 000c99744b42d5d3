"""timm's networks: their taps, and their weights from a cache that the tests fill with small random
ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.models import ImageShape, Normalisation, build, save_weights
from hmdc_ray.seeding import Key
from models.networks import MNIST, make, pretrained, random_state, refusal, tap_sizes


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache; the hub is a port that nobody listens on."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


def fill(hub: Path, name: str) -> tuple[Path, dict[str, Tensor]]:
    """Random weights of 1000 classes as the hub's cache keeps them: the file, and what it holds."""
    state = random_state(lambda: timm.create_model(name))
    folder = hub / f"models--timm--{name}.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    (folder / "snapshots" / "c0ffee").mkdir(parents=True)
    save_file(state, folder / "snapshots" / "c0ffee" / "model.safetensors")
    return folder / "snapshots" / "c0ffee" / "model.safetensors", state


@pytest.mark.parametrize("classes", [5, 1000])
def test_timms_weights_come_with_a_fresh_classifier(hub: Path, classes: int) -> None:
    _, state = fill(hub, "test_resnet")
    network, other = pretrained("timm:test_resnet", classes), pretrained("timm:test_resnet", classes, seed=1)
    found = network.module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items() if not name.startswith("fc."))
    head = found["fc.weight"]
    assert head.shape == (classes, 96)
    assert torch.equal(head, pretrained("timm:test_resnet", classes).module.state_dict()["fc.weight"])
    assert not torch.equal(head, other.module.state_dict()["fc.weight"])
    assert classes != 1000 or not torch.equal(head, state["fc.weight"])


def test_grey_is_repeated_at_the_size_of_the_pretraining(hub: Path) -> None:
    fill(hub, "test_resnet")
    network = pretrained("timm:test_resnet")
    seen: list[Tensor] = []
    with network.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        network.eval()(torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert seen[0].shape == (1, 3, 160, 160)
    assert torch.equal(seen[0][:, 0], seen[0][:, 2])


def test_a_transformers_positions_follow_another_input_size(hub: Path) -> None:
    _, state = fill(hub, "test_vit")
    network = pretrained("timm:test_vit", input_size=80)
    assert [(tap.height, tap.width) for tap in network.taps] == [(5, 5)] * 6
    assert torch.equal(network.module.state_dict()["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize(("name", "own"), [("test_resnet", 0.5), ("test_vit", 0.5)])
def test_timms_weights_see_images_normalised_as_in_their_pretraining(hub: Path, name: str, own: float) -> None:
    fill(hub, name)
    space = Normalisation(*KNOWN["mnist"])
    pixels_BCHW = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = build(f"timm:{name}", {}, MNIST, 5, Key(0, "network"), "pretrained", space=space).double().eval()
    seen: list[Tensor] = []
    with network.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        network((pixels_BCHW - space.mean[0]) / space.std[0])
    by_hand = ((pixels_BCHW - own) / own).expand(-1, 3, -1, -1)
    by_hand = torch.nn.functional.interpolate(by_hand, (160, 160), mode="bilinear", align_corners=True)
    assert torch.allclose(seen[0], by_hand, rtol=1e-12, atol=1e-12)


def test_weights_trained_further_keep_the_normalisation_of_the_pretraining(hub: Path, tmp_path: Path) -> None:
    fill(hub, "test_resnet")
    space, colour = Normalisation(*KNOWN["cifar10"]), ImageShape(3, 32, 32)
    network = build("timm:test_resnet", {}, colour, 5, Key(0, "network"), "pretrained", space=space)
    save_weights(network, tmp_path / "further.safetensors")
    again = build(
        "timm:test_resnet", {}, colour, 5, Key(1, "network"), f"checkpoint:{tmp_path}/further.safetensors", space=space
    )
    assert again.own == network.own == Normalisation((0.5,) * 3, (0.5,) * 3) and again.renormalises
    assert build("timm:test_resnet", {}, colour, 5, Key(1, "network"), space=space).own is None  # from scratch


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_timms_weights_are_named(hub: Path, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    message = refusal("timm:test_resnet", weights="pretrained")
    assert "timm/test_resnet.r160_in1k/model.safetensors are neither in the local cache nor reachable" in message
    assert "use scratch or checkpoint:PATH" in message


def test_a_network_without_weights_on_the_hub_is_refused(hub: Path) -> None:
    assert "it has no pretrained weights on the Hugging Face hub" in refusal("timm:test_coatnet", weights="pretrained")


def test_a_damaged_file_of_the_hub_is_named(hub: Path) -> None:
    path, _ = fill(hub, "test_resnet")
    path.write_bytes(path.read_bytes()[:1000])
    message = refusal("timm:test_resnet", weights="pretrained")
    assert f"pretrained weights {str(path)!r} cannot be read" in message and "delete the file" in message


@pytest.mark.parametrize(
    ("options", "blocks"), [({}, range(12)), ({"taps": 4}, (2, 5, 8, 11)), ({"taps": 1}, (11,)), ({"depth": 3}, range(3))]
)
def test_taps_of_a_transformer_are_its_blocks_or_as_many_as_are_asked_for(options: dict[str, Any], blocks: list[int]) -> None:
    small: dict[str, Any] = {"input_size": [32, 64], "patch_size": 8, "embed_dim": 24}
    network = make("timm:deit_tiny_patch16_224", **(small | options))
    assert tap_sizes(network) == [(f"blocks.{block}", 24, 4, 8) for block in blocks]
    assert {tap.kind for tap in network.taps} == {"tokens"}
