"""The commands ``hmdc presets`` and ``hmdc architectures``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from whole_runs import CommandLine, tree

from hmdc_ray.config.io import load_config
from hmdc_ray.config.presets import PRESETS, preset
from hmdc_ray.models import registered


def test_presets_are_listed(hmdc: CommandLine) -> None:
    listing = hmdc.succeeds("presets")
    for name in PRESETS:
        assert f"\n {name} " in listing


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_complete_configuration(hmdc: CommandLine, name: str, tmp_path: Path) -> None:
    text = hmdc.succeeds("presets", name, "--yaml")
    assert text == hmdc.succeeds("presets", name)
    assert "# " in text
    (tmp_path / "mine.yaml").write_text(text)
    assert load_config(tmp_path / "mine.yaml") == preset(name)
    if any(member.weights == "pretrained" for member in preset(name).pool.members):
        return  # a dry run fetches the weights, which takes a network
    before = tree(tmp_path)
    one = ("--set", "evaluation.students=[mlp]")  # some presets have students that take long to build
    assert "member convnet" in hmdc.succeeds("condense", "mine.yaml", "--dry-run", *one)
    assert tree(tmp_path) == before


def test_architectures_are_listed_with_their_options(hmdc: CommandLine) -> None:
    listing = hmdc.succeeds("architectures")
    for name in ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18", "vit", *registered()):
        assert f"\n {name} " in listing
    assert "depth=" in listing and "package.module:factory" in listing


def test_a_pipe_gets_whole_lines(hmdc: CommandLine, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    lines = hmdc.succeeds("architectures").splitlines()
    assert len(lines) == 1 + len(registered()) + 1
    (convnet,) = (line for line in lines if line.startswith(" convnet "))
    assert convnet.rstrip().endswith("width=128, depth=3, norm=instance, activation=relu, pooling=avg")
    assert "run        tiny, finished\n" in re.sub(" +\n", "\n", hmdc.succeeds("status", finished / "run"))
    folder = "x" * 200
    assert folder in hmdc.succeeds("condense", finished / "tiny.yaml", "--dry-run", "--output", folder)
