"""torchvision's networks: their taps, and their weights from a cache that the tests fill with small
random ones."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision import models

from hmdc_ray.models import ImageShape, Normalisation
from models.networks import make, pretrained, random_state, refusal, tap_sizes

SHUFFLENET = "shufflenetv2_x0.5-f707e7126e.pth"


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's folder of downloaded weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_torchvisions_weights_come_with_a_fresh_classifier(torch_home: Path) -> None:
    state = random_state(models.shufflenet_v2_x0_5)
    torch.save(state, torch_home / SHUFFLENET)
    found = pretrained("torchvision:shufflenet_v2_x0_5").module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items() if not name.startswith("fc."))
    assert found["fc.weight"].shape == (5, 1024)
    assert pretrained("torchvision:shufflenet_v2_x0_5").own == Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    other = pretrained("torchvision:shufflenet_v2_x0_5", classes=1000, seed=1).module.state_dict()["fc.weight"]
    assert not torch.equal(other, state["fc.weight"])


def test_old_names_of_densenets_layers_are_understood(torch_home: Path) -> None:
    state = random_state(models.densenet121)
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor for name, tensor in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, torch_home / "densenet121-a639ec97.pth")
    found = pretrained("torchvision:densenet121").module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items() if not name.startswith("classifier."))


def test_without_a_network_torchvisions_weights_are_named(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    def unreachable(*_: object, **__: object) -> None:
        limits.append(socket.getdefaulttimeout())
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    message = refusal("torchvision:shufflenet_v2_x0_5", weights="pretrained")
    assert f"pretrained weights {SHUFFLENET} are neither in the local cache nor reachable at https://" in message
    assert f"put the file into {torch_home}" in message
    assert limits == [10.0] and socket.getdefaulttimeout() is None


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_file_with_code_in_it_is_refused_unread(torch_home: Path, tmp_path: Path) -> None:
    torch.save({"fc.weight": Malicious(tmp_path / "mark")}, torch_home / SHUFFLENET)
    assert f"pretrained weights {str(torch_home / SHUFFLENET)!r} cannot be read" in refusal(
        "torchvision:shufflenet_v2_x0_5", weights="pretrained"
    )
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v2", [("features.3", 24, 8, 8), ("features.6", 32, 4, 4), ("features.13", 96, 2, 2)]),
        ("densenet121", [(f"features.denseblock{block}", 128 << block, 16 >> block, 16 >> block) for block in (1, 2, 3)]),
    ],
)
def test_taps_of_a_sequence_end_its_resolutions(name: str, expected: list[tuple[str, int, int, int]]) -> None:
    assert tap_sizes(make(f"torchvision:{name}"))[:3] == expected


def test_torchvision_takes_grey_and_colour_alone() -> None:
    message = refusal("torchvision:shufflenet_v2_x0_5", ImageShape(2, 32, 32))
    assert message.startswith("images are 2x32x32, must have 3 channels for this network")
