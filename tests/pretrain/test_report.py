"""What a pre-training leaves: numbers in files, and the options with which members start from the
weights."""

from __future__ import annotations

import io
import json
import shlex
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hmdc_ray.config import MemberConfig
from hmdc_ray.pretrain.report import Pretrained, TrainedNetwork

NETWORK = TrainedNetwork("thin", "convnet", {"width": 8}, "scratch", 2, 4, 0.5, 0.75)
FACTS = {"split": "validation", "seed": 3, "workers": 2, "data_source": "digits", "data_fingerprint": "f", "version": "0"}
MADE = Pretrained(networks=(NETWORK,), **FACTS)  # type: ignore[arg-type]


def test_files_have_the_names_that_others_rely_on(tmp_path: Path) -> None:
    MADE.write(tmp_path, {"thin": [1.5, 0.5], "mlp": [2.0]})
    content = json.loads((tmp_path / "accuracies.json").read_text())
    assert list(content) == [
        *("networks", "split", "seed", "workers", "data_source", "data_fingerprint", "version", "schema_version")
    ]
    assert [*content.values()][1:] == ["validation", 3, 2, "digits", "f", "0", 1]
    (network,) = content["networks"]
    assert list(network) == ["name", "architecture", "options", "start", "epochs", "steps", "loss", "accuracy"]
    assert [*network.values()] == ["thin", "convnet", {"width": 8}, "scratch", 2, 4, 0.5, 0.75]
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [tuple(line.values()) for line in lines] == [("thin", 0, 1.5), ("thin", 1, 0.5), ("mlp", 0, 2.0)]


def test_only_members_of_the_pool_start_from_the_weights() -> None:
    members = [MemberConfig(architecture="mlp"), MemberConfig(architecture="convnet", name="thin")]
    words = shlex.split(MADE.assignments(Path("/my weights"), members))
    assert words == ["--set", "pool.members.thin.weights=checkpoint:/my weights/thin.safetensors"]
    assert MADE.assignments(Path("/w"), members[:1]) == ""


def test_the_table_shows_names_that_look_like_markup() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(replace(MADE, networks=(replace(NETWORK, name="[b]"),)).table())
    assert isinstance(console.file, io.StringIO)
    assert all(text in console.file.getvalue() for text in ("[b]", "convnet", "75.0", "validation"))
