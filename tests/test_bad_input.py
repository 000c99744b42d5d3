"""Bad input on the command line: one line that names the field or the file, exit code 2, and
nothing is lost."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from whole_runs import CommandLine, Outcome, condense_here, pixels, tiniest, tree, without_ray, write_config, write_images

from hmdc_ray import load_condensed
from hmdc_ray.actors.session import ray_session
from hmdc_ray.condensed import save_condensed

NETWORKS = """
from torch import nn
from hmdc_ray.models import Architecture, TapSpec

def _linear(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.height * shape.width, classes))

def colour_only(shape, classes):
    return Architecture(_linear(shape, classes), input_channels=4)

def wrong_tap(shape, classes):
    return Architecture(_linear(shape, classes), taps=(TapSpec("features.3", "map"),))

def no_taps(shape, classes):
    return _linear(shape, classes)

def other_classes(shape, classes):
    return _linear(shape, classes + 1)
"""
MEMBERS = "pool.members={}"
LABELS = [0, 1, 2] * 6


def encoded(content: bytes) -> dict[str, bytes]:
    return {"bytes": content}


def png(side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run: configurations, data and networks, good and bad; a finished run and
    damaged copies of it."""
    folder = tmp_path_factory.mktemp("place")
    config = tiniest(folder, evaluation={"students": []})
    write_config(folder / "tiny.yaml", config)
    (folder / "unknown.yaml").write_text("images: {ipcc: 3}\n")
    (folder / "syntax.yaml").write_text("seed: 0\nimages: {ipc: 3\n")
    (folder / "bad_networks.py").write_text(NETWORKS)
    (folder / "text.parquet").write_text("no Parquet")
    (folder / "hollow").mkdir()
    write_images(folder / "small.parquet", LABELS)
    write_images(folder / "colour.parquet", LABELS, side=16, channels=3)
    write_images(folder / "one.parquet", [0] * 10)
    write_images(folder / "unlabelled.parquet", LABELS, label=[0.5] * len(LABELS))
    broken = [encoded(png(8))] * 8 + [encoded(b"no image"), encoded(png(8))]
    write_images(folder / "broken.parquet", [0, 1] * 5, image=broken)
    (folder / "photos" / "cat").mkdir(parents=True)
    (folder / "photos" / "cat" / "1.png").write_bytes(b"no image")
    _finished_runs(folder)
    return folder


def _finished_runs(folder: Path) -> None:
    condense_here(tiniest(folder), folder / "run")
    shutil.copytree(folder / "run", folder / "garbled")
    lines = (folder / "garbled" / "metrics.jsonl").read_text().splitlines()
    (folder / "garbled" / "metrics.jsonl").write_text("\n".join([lines[0], "garbage", *lines[2:]]) + "\n")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "thesis.txt").write_text("years of work")
    condensed = load_condensed(folder / "run")
    save_condensed(folder / "nan.parquet", condensed)
    _spoil(folder / "nan.parquet", condensed.images.clone())


def _spoil(path: Path, images: torch.Tensor) -> None:
    """Put a NaN into the pixels of row 1, which the writer would refuse."""
    images[1, 0, 3, 3] = float("nan")
    table = pq.read_table(path)
    column = pa.array(images.flatten(1).numpy().tolist(), pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.schema.get_field_index("pixels"), "pixels", column), path)


@pytest.fixture
def hmdc(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[CommandLine]:
    without_ray(monkeypatch)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield CommandLine(monkeypatch, capsys)
    sys.modules.pop("bad_networks", None)


def refusal(outcome: Outcome) -> str:
    """The one line of a command that refused its input."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome
    assert "Traceback" not in outcome.out
    return outcome.err


CASES: dict[str, tuple[str, str]] = {
    # configuration
    "unknown key": ("condense unknown.yaml", "unknown.yaml: images.ipcc is not a known field: did you mean 'ipc'?"),
    "broken YAML": ("condense syntax.yaml", "syntax.yaml line 3: "),
    "no such file": ("condense nowhere.yaml", "nowhere.yaml does not exist"),
    "no such preset": ("condense digit", "preset 'digit' does not exist: did you mean 'digits'?"),
    "folder without a run": ("condense hollow", "hollow holds no config.yaml"),
    "negative IPC": ("condense tiny.yaml --set images.ipc=-3", "images.ipc is -3: must be a whole number, 1 to 10000"),
    "text for a number": ("condense tiny.yaml --set images.ipc=many", "images.ipc is 'many': must be a whole number"),
    "no value": ("condense tiny.yaml --set images.ipc", "--set 'images.ipc': must be section.field=value"),
    "reserved name": ('condense tiny.yaml --set pool.members=[{"architecture":"mlp","name":"server"}]', "'server'"),
    "password in the address": ("condense tiny.yaml --set tracking.uri=http://me:secret@host:1", "tracking.uri"),
    "seed is text": ("condense tiny.yaml --seed abc", "seed is 'abc': must be a whole number"),
    "unknown option": ("condense tiny.yaml --sed 3", "No such option: --sed"),
    "missing argument": ("condense", "Missing argument 'PRESET|FILE.yaml'"),
    "unknown command": ("condens tiny.yaml", "No such command 'condens'"),
    # data
    "no such data": ("condense tiny.yaml --data nowhere", "nowhere' does not exist"),
    "not Parquet": ("condense tiny.yaml --data text.parquet", "text.parquet: cannot be read as a Parquet file"),
    "no Parquet files": ("condense tiny.yaml --data hollow", "hollow' holds no Parquet file"),
    "one class": ("condense tiny.yaml --data one.parquet", "has 1 class, condensation needs at least 2"),
    "no labels": ("condense tiny.yaml --data unlabelled.parquet", "unlabelled.parquet"),
    "undecodable image": ("condense tiny.yaml --data broken.parquet", "broken.parquet, row 8: image cannot be decoded"),
    "no such column": (
        "condense tiny.yaml --data small.parquet --set data.label_column=lable",
        "no column 'lable' (data.label_column); did you mean 'label'?",
    ),
    "statistics of another colour": (
        "condense tiny.yaml --set data.statistics=cifar10",
        "data.statistics is 'cifar10', for images of 3 channels",
    ),
    "not an image": ("prepare photos out", "1.png"),
    "nothing to prepare": ("prepare nowhere out", "source 'nowhere' does not exist"),
    "prepared before": ("prepare photos foreign --overwrite", "foreign is not a folder of nothing but Parquet files"),
    # networks
    "unknown architecture": (
        f"condense tiny.yaml --set {MEMBERS.format('[mpl]')}",
        "pool.members.mpl: architecture 'mpl': unknown, did you mean 'mlp'?",
    ),
    "unknown student": ("condense tiny.yaml --set evaluation.students=[mpl]", "evaluation.students.mpl: architecture 'mpl'"),
    "unknown option of a network": (
        "condense tiny.yaml --set pool.members.convnet.options.widht=3",
        "pool.members.convnet: architecture 'convnet': unknown option 'widht': did you mean 'width'?",
    ),
    "images too small": (
        "condense tiny.yaml --data small.parquet",
        "pool.members.lenet: architecture 'lenet': images are 1x8x8",
    ),
    "wrong channels": (
        f"condense tiny.yaml --data colour.parquet --set {MEMBERS.format('[bad_networks:colour_only]')}",
        "images are 3x16x16, must have 4 channels for this network",
    ),
    "no such tap": (
        f"condense tiny.yaml --set {MEMBERS.format('[bad_networks:wrong_tap]')}",
        "pool.members.wrong_tap: architecture 'bad_networks:wrong_tap': tap 'features.3' is not a module of the network",
    ),
    "no taps to distil": (
        f"condense tiny.yaml --set {MEMBERS.format('[mlp,bad_networks:no_taps]')}",
        "pool.members.no_taps ('bad_networks:no_taps') has no taps, which matching.mutual_distillation needs",
    ),
    "wrong number of logits": (
        f"condense tiny.yaml --set {MEMBERS.format('[bad_networks:other_classes]')}",
        "must return logits of shape (2, 3)",
    ),
    "no such module": (
        f"condense tiny.yaml --set {MEMBERS.format('[my_network:small]')}",
        "module 'my_network' cannot be imported",
    ),
    "no such factory": (
        f"condense tiny.yaml --set {MEMBERS.format('[bad_networks:no_tap]')}",
        "module 'bad_networks' has no 'no_tap': did you mean 'no_taps'?",
    ),
    "formation": ("condense tiny.yaml --set images.formation=3", "images.formation is 3, which does not divide"),
    "nothing to judge by": (
        "condense tiny.yaml --data small.parquet --set data.validation_fraction=0 --set evaluation.split=validation "
        f"--set {MEMBERS.format('[mlp]')}",
        "evaluation.split is 'validation', which has no images",
    ),
    # folders and checkpoints
    "folder holds a run": ("condense tiny.yaml --output run", "run already holds a run: use --resume"),
    "changed configuration": ("condense tiny.yaml --output run --resume --seed 9", "seed is 9, but the checkpoint in"),
    "changed data": (
        "condense tiny.yaml --output run --resume --data colour.parquet",
        "data is '",
    ),
    "damaged metrics": ("condense tiny.yaml --output garbled --resume", "metrics.jsonl line 2 is b'garbage'"),
    # evaluate
    "NaN pixels": ("evaluate nan.parquet", "nan.parquet: pixels of row 1 are not all finite numbers"),
    "not condensed": ("evaluate small.parquet", "small.parquet: no metadata of a condensed set"),
    "nothing to evaluate": ("evaluate nowhere", "nowhere does not exist"),
    "other images": (
        "evaluate run --data small.parquet",
        "has images of 1 channel and 8x8 pixels, but the condensed images have 1 channel and 16x16 pixels",
    ),
    "unknown protocol": ("evaluate run --protocol dd", "evaluation.protocol is 'dd': must be one of dc"),
    "unknown baseline": ("evaluate run --baselines all", "evaluation.baselines is 'all': must be one of none, random"),
    "no networks": ("evaluate run --seeds 0", "evaluation.seeds is 0: must be a whole number, 1 to 1000"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_changes_nothing(case: str, hmdc: CommandLine, place: Path) -> None:
    command, message = CASES[case]
    before = {name: content for name, content in tree(place).items() if not name.startswith(("cache/", "__pycache__/"))}
    assert message in refusal(hmdc(*command.split()))
    after = {name: content for name, content in tree(place).items() if not name.startswith(("cache/", "__pycache__/"))}
    assert after == before


def test_a_tracking_server_that_does_not_answer_costs_no_run(hmdc: CommandLine, place: Path) -> None:
    before = tree(place / "run")
    address = ("--set", "tracking.enabled=true", "--set", "tracking.uri=http://127.0.0.1:9")
    line = refusal(hmdc("condense", "tiny.yaml", "--output", "run", "--overwrite", *address))
    assert "tracking.uri 'http://127.0.0.1:9' does not answer" in line
    assert tree(place / "run") == before


def test_a_cluster_that_does_not_answer_is_named(hmdc: CommandLine, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr("hmdc_ray.actors.session.ray_session", ray_session)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    line = refusal(hmdc("condense", "tiny.yaml", "--output", "new", "--address", "ray://127.0.0.1:9"))
    assert "--address is 'ray://127.0.0.1:9': nobody answers there (Connection refused)" in line
    assert not (place / "new").exists()


FULL = ("config.yaml", "000000002.safetensors", "000000004.json", "condensed.parquet", "images.png", "evaluation.json")


@pytest.mark.parametrize("file", FULL)
def test_a_full_disk_names_the_file_and_costs_nothing_that_was_saved(
    file: str, hmdc: CommandLine, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if file in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    words = ("condense", "tiny.yaml", "--output", tmp_path / "run", "--set", "schedule.checkpoint_failures=1")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        failed = hmdc(*words)
    line, *hint = failed.err.splitlines()
    assert failed.code == 2 and line.startswith("error: ") and file in line and "No space left on device" in line
    started = (tmp_path / "run" / "config.yaml").exists()
    assert started == (file != "config.yaml")
    assert not [name for name in tree(tmp_path / "run") if name.startswith(".") or file in name]
    again = shlex.split(hint[1])[1:] if started else words
    assert len(hint) == (2 if started else 0)
    hmdc.succeeds(*again)
    assert pixels(tmp_path / "run") == pixels(place / "run")
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["schema_version"] == 1
