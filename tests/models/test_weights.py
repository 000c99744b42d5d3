"""Weights in safetensors files: what is written comes back, what does not fit is refused by
name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hmdc_ray.errors import InputError
from hmdc_ray.models import ImageShape, Network, build, save_weights
from hmdc_ray.seeding import Key

SHAPE = ImageShape(3, 8, 8)
OPTIONS = {"width": 4, "depth": 2, "norm": "batch"}


def make(weights: str = "scratch", seed: int = 0, options: dict[str, Any] = OPTIONS) -> Network:
    return build("convnet", options, SHAPE, 3, Key(seed, "network"), weights)


def same(first: Network, second: Network) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(tensor, value) for (name, tensor), (other, value) in pairs)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file of weights and moved BatchNorm statistics, drawn with seed 0."""
    network = make()
    network(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    save_weights(network, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def changed(saved: Path, **tensors: Tensor | None) -> str:
    """The origin of weights where some tensors of the file are others, or None: left out."""
    state = load_file(saved) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, saved)
    return f"checkpoint:{saved}"


def refusal(weights: str, options: dict[str, Any] = OPTIONS) -> str:
    with pytest.raises(InputError) as caught:
        make(weights, options=options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("architecture 'convnet': weights ")
    return str(caught.value)


def test_weights_and_statistics_survive(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make(f"checkpoint:{saved}", seed=1)
    assert not same(network, make(seed=0))  # the statistics moved
    assert not same(network, make(seed=1))
    save_weights(network, tmp_path / "new" / "again.safetensors")
    assert load_file(tmp_path / "new" / "again.safetensors").keys() == network.module.state_dict().keys()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert same(make("checkpoint:~/new/again.safetensors", seed=2), network)


def test_the_file_says_what_it_is_of(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata.pop("options")) == OPTIONS
    assert metadata == {"architecture": "convnet", "classes": "3", "shape": "3x8x8"}


def test_tied_weights_are_written_twice(tmp_path: Path) -> None:
    network = make()
    network.module.get_submodule("blocks.1.1").bias = network.module.get_submodule("blocks.0.1").bias
    save_weights(network, tmp_path / "tied.safetensors")
    state = load_file(tmp_path / "tied.safetensors")
    assert torch.equal(state["blocks.0.1.bias"], state["blocks.1.1.bias"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"classifier__bias": None}, "'classifier.bias' is missing"),
        ({"extra": torch.ones(1)}, "'extra' is unexpected"),
        ({"classifier__bias": torch.ones(4)}, "'classifier.bias' has shape (4,), must be (3,)"),
        ({"classifier__bias": torch.ones(3).double()}, "'classifier.bias' is float64, must be float32"),
        ({"classifier__bias": torch.tensor([0, torch.inf, 0])}, "'classifier.bias' holds numbers that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved: Path, tensors: dict[str, Tensor | None], message: str) -> None:
    text = refusal(changed(saved, **tensors))
    assert message in text and str(saved) in text


def test_a_file_of_another_network_says_so(saved: Path) -> None:
    text = refusal(f"checkpoint:{saved}", OPTIONS | {"width": 8})
    assert 'of convnet {"depth": 2, "norm": "batch", "width": 4}: \'blocks.0.0.weight\' has shape (4, 3, 3, 3)' in text


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read (no such file): must be a safetensors file"), (b"\x80\x04pickle", "not a whole safetensors file")],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert f"weights {str(path)!r}" in refusal(f"checkpoint:{path}")
    assert message in refusal(f"checkpoint:{path}")


def test_a_file_cut_short_and_a_folder_are_refused(saved: Path, tmp_path: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-8])
    assert "not a whole safetensors file" in refusal(f"checkpoint:{saved}")
    assert "cannot be read" in refusal(f"checkpoint:{tmp_path}")


def test_a_file_that_cannot_be_written_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr("hmdc_ray.models.weights.save_file", fail)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        save_weights(make(), saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
