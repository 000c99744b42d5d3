"""The commands as a user types them, in this process: presets, prepare, condense, evaluate, architectures."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from whole_runs import STEPS, CommandLine, condense_here, pixels, tiniest, tree, write_config, write_images

from hmdc_ray.cli.main import main
from hmdc_ray.cli.terminal import TerminalProgress
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import apply_overrides, load_config
from hmdc_ray.config.presets import PRESETS, preset
from hmdc_ray.errors import InputError
from hmdc_ray.models import registered
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.server.checkpoint import CheckpointFolder
from hmdc_ray.server.storage import LocalStorage


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def finished(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a configuration, tiny.yaml, and its run, run/."""

    folder = tmp_path_factory.mktemp("finished")
    config = tiniest(home, evaluation={"students": ["mlp", "lenet"]})
    write_config(folder / "tiny.yaml", config)
    condense_here(config, folder / "run")
    before = tree(folder)
    yield folder
    assert tree(folder) == before, "a test changed the run that others use"


# presets, architectures


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


def test_help_names_the_commands(hmdc: CommandLine) -> None:
    for words in ((), ("--help",)):
        listing = hmdc.succeeds(*words)
        for command in ("condense", "evaluate", "presets", "prepare", "architectures", "import", "export"):
            assert command in listing


@pytest.mark.parametrize(("given", "expected"), [("images.ipc=10", 10), ("images={ipc: 50}", 50), ("seed=1", None)])
def test_a_preset_follows_the_images_per_class(
    hmdc: CommandLine, monkeypatch: pytest.MonkeyPatch, given: str, expected: int | None
) -> None:
    shown: list[RunConfig] = []
    monkeypatch.setattr("hmdc_ray.cli.dry_run.show_plan", lambda config, *_: shown.append(config))
    hmdc.succeeds("condense", "dc", "--dry-run", "--set", given, "--set", "schedule.batch=7")
    (config,) = shown
    assert config.schedule == preset("dc", ipc=expected).schedule.model_copy(update={"batch": 7})
    assert config.images.ipc == preset("dc", ipc=expected).images.ipc


def test_images_per_class_must_fit_before_a_preset_follows_them(hmdc: CommandLine) -> None:
    refused = hmdc("condense", "dc", "--dry-run", "--set", "images.ipc=-1")
    assert refused.code == 2 and "images.ipc is -1: must be a whole number" in refused.err


def test_images_given_as_a_configuration_are_shown_their_place(hmdc: CommandLine, tmp_path: Path) -> None:
    write_images(tmp_path / "shapes" / "train.parquet", [0, 1])
    for words in (("shapes",), ("shapes/train.parquet",)):
        refused = hmdc("condense", *words)
        assert refused.code == 2 and f"hmdc condense dc --data {words[0]}" in refused.err


def test_help_is_fast_because_it_imports_little() -> None:
    code = (
        "import sys; from hmdc_ray.cli.main import app; app(['condense', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "--dry-run" in done.stdout, done.stderr
    assert not {"torch", "ray", "mlflow", "pyarrow", "sklearn"} & set(done.stdout.split())


# prepare, dry run


def test_images_of_ones_own_are_prepared_and_planned(hmdc: CommandLine, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, count in {"cat": 6, "dog": 12}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(draw.integers(0, 256, (16, 20, 3), dtype=np.uint8))
            image.save(tmp_path / "photos" / name / f"{index}.png")
    prepared = hmdc.succeeds("prepare", "photos", "data")
    assert "18 images, 6 (cat) to 12 (dog) of a class" in prepared and "hmdc condense PRESET --data data" in prepared
    refused = hmdc("prepare", "photos", "data")
    assert refused.code == 2 and "exists already" in refused.err and "--overwrite" in refused.err
    hmdc.succeeds("prepare", "photos", "data", "--overwrite")
    before = tree(tmp_path)
    words = ("condense", "digits", "--data", "data", "--set", "pool.members=[convnet, mlp]", "--set", "data.cache=cache")
    students = ("--set", "evaluation.students=[mlp]", "--set", "evaluation.seeds=1", "--set", "schedule.iterations=4")
    shown = hmdc.succeeds(
        *words, *students, "--set", "pool.members.convnet.options.width=8", "--seed", 3, "--output", "out", "--dry-run"
    )
    for text in (
        "2: cat, dog",
        "training images: 5 (cat) to 9 (dog) of a class",
        "images: 14 train, 1 validation, 3 test",
        "3x16x20",
        "member convnet convnet {width: 8}",
        "member mlp     mlp,",
        "1 seed of mlp",
        "4 (4 iterations x 1)",
        "out",
        "mutual distillation exact",
    ):
        assert text in shown
    assert {name for name in tree(tmp_path) if not name.startswith("cache/")} == set(before)
    assert not (tmp_path / "out").exists()


# condense


def test_condense_writes_the_run_and_says_where(hmdc: CommandLine, home: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home, evaluation={"students": ["mlp"]}))
    shown = hmdc.succeeds("condense", "tiny.yaml", "--seed", 11, "--set", "images.ipc=2")
    for text in ("condensing 6/6", "mlp", "runs/tiny/images.png", "runs/tiny/condensed.parquet", "runs/tiny/evaluation.json"):
        assert text in shown
    written = load_config(tmp_path / "runs" / "tiny")
    assert (written.seed, written.images.ipc) == (11, 2)
    hmdc.succeeds("condense", "runs/tiny", "--output", "again")
    assert pixels(tmp_path / "again") == pixels(tmp_path / "runs" / "tiny")


def test_a_run_is_replaced_only_when_asked(hmdc: CommandLine, home: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home, schedule={"iterations": 1}))
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run")
    first = tree(tmp_path / "run")
    refused = hmdc("condense", "tiny.yaml", "--output", "run", "--seed", 1)
    assert refused.code == 2 and "already holds a run: use --resume" in refused.err
    assert tree(tmp_path / "run") == first
    (tmp_path / "run" / "notes.txt").write_text("mine")
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", "--seed", 1, "--overwrite")
    assert pixels(tmp_path / "run") != first["condensed.parquet"]
    assert load_config(tmp_path / "run").seed == 1
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_folder_in_use_is_left_alone(hmdc: CommandLine, finished: Path) -> None:
    folder = RunFolder.claim(finished / "run", resume=True)
    try:
        for flag in ("--resume", "--overwrite"):
            refused = hmdc("condense", finished / "tiny.yaml", "--output", finished / "run", flag)
            assert refused.code == 2 and "folder in use by process" in refused.err
    finally:
        folder.release()


def test_resuming_a_changed_configuration_names_the_fields(hmdc: CommandLine, finished: Path) -> None:
    changes = ("--set", "images.learning_rate=0.2", "--set", "pool.members.convnet.options.width=9", "--seed", 8)
    refused = hmdc("condense", finished / "tiny.yaml", "--output", finished / "run", "--resume", *changes)
    assert refused.code == 2
    assert "images.learning_rate is 0.2, but the checkpoint in" in refused.err and "was made with 0.1" in refused.err
    assert "(also pool.members.0.options.width, seed)" in refused.err.replace("config.", "")


def test_resuming_may_change_what_is_judged(hmdc: CommandLine, home: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home, schedule={"iterations": 1}))
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run")
    before = pixels(tmp_path / "run")
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", "--resume", "--set", "evaluation.students=[mlp]")
    assert [row["architecture"] for row in json.loads((tmp_path / "run" / "evaluation.json").read_text())["rows"]] == ["mlp"]
    assert pixels(tmp_path / "run") == before
    hmdc.succeeds("condense", "tiny.yaml", "--output", "run", "--resume", "--set", "schedule.iterations=2")
    latest = CheckpointFolder(tmp_path / "run" / "checkpoint").latest()
    assert latest is not None and latest.version == STEPS


def test_a_run_that_is_stopped_says_where_and_how_to_resume(
    hmdc: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home))

    def stop_after_two(self: TerminalProgress, done: int, total: int, *more: object) -> None:
        self._steps = done, total
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as stopping:
        stopping.setattr(TerminalProgress, "step", stop_after_two)
        stopped = hmdc("condense", "tiny.yaml", "--output", "my run", "--overwrite")
    assert stopped.code == 128 + signal.SIGTERM
    assert f"stopped by SIGTERM after step 2 of {STEPS}. Resume with:" in stopped.err
    assert stopped.err.endswith("\n  hmdc condense tiny.yaml --output 'my run' --resume\n")
    assert f"resuming from step 2 of {STEPS}" in hmdc.succeeds("condense", "tiny.yaml", "--output", "my run", "--resume")


def test_a_run_that_fails_says_how_to_resume(
    hmdc: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home, schedule={"checkpoint_failures": 1}))
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name.startswith("000000004"):
            raise InputError(f"{self.place(name)} cannot be written: No space left on device")
        write(self, name, data)

    with monkeypatch.context() as disk:
        disk.setattr(LocalStorage, "write", full)
        failed = hmdc("condense", "tiny.yaml", "--output", "my run", "--overwrite")
    assert failed.code == 2 and "No space left on device (1 failed saves in a row" in failed.err
    command = "hmdc condense tiny.yaml --output 'my run' --resume"
    assert failed.err.endswith(f"\nWhen that is mended, resume with:\n  {command}\n")

    def broken(self: TerminalProgress, *_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as program, pytest.raises(ZeroDivisionError) as caught:
        program.setattr(TerminalProgress, "step", broken)
        program.setattr(sys, "argv", shlex.split(command))
        main()
    assert caught.value.__notes__ == [f"When that is mended, resume with:\n  {command}"]
    assert f"resuming from step 2 of {STEPS}" in hmdc.succeeds(*shlex.split(command)[1:])


def test_what_fails_before_a_run_begins_is_not_resumed(hmdc: CommandLine, home: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home))
    refused = hmdc("condense", "tiny.yaml", "--output", "run", "--set", "schedule.checkpoint_uri=/dev/null/x")
    assert (
        refused.code == 2
        and "schedule.checkpoint_uri is '/dev/null/x', which cannot be written (Not a directory)" in refused.err
        and "resume" not in refused.err
    )


# evaluate


def test_evaluate_a_run(hmdc: CommandLine, finished: Path, tmp_path: Path) -> None:
    shown = hmdc.succeeds("evaluate", finished / "run", "--output", "accuracies.json")
    assert "mlp" in shown and "lenet" in shown and "accuracies.json" in shown
    assert json.loads((tmp_path / "accuracies.json").read_text()) == json.loads(
        (finished / "run" / "evaluation.json").read_text()
    )


def test_evaluate_a_file_with_other_students(hmdc: CommandLine, finished: Path, tmp_path: Path) -> None:
    words = ("evaluate", finished / "run" / "condensed.parquet", "--architectures", "mlp, convnet", "--seeds", 2)
    hmdc.succeeds(*words, "--baselines", "none", "--protocol", "dc", "--output", "accuracies.json")
    report = json.loads((tmp_path / "accuracies.json").read_text())
    assert [(row["architecture"], row["in_pool"]) for row in report["rows"]] == [
        ("mlp", False),
        ("convnet", False),
    ]  # wider than the pool's
    for row in report["rows"]:
        assert (row["random"], row["kmeans"]) == (None, None)
        assert len(row["condensed"]["values"]) == 2
        assert row["condensed"]["low"] <= row["condensed"]["mean"] <= row["condensed"]["high"]


def test_paths_in_a_run_hold_in_every_folder(
    hmdc: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "data.parquet", [0, 1, 2] * 10)
    pool = {"members": [{"architecture": "mlp", "options": {"width": 4}}]}
    small = tiniest(home, pool=pool, evaluation={"students": ["mlp"]}, schedule={"iterations": 1, "steps": 1})
    write_config(tmp_path / "small.yaml", apply_overrides(small, ["data.cache=cache"]))
    hmdc.succeeds("condense", "small.yaml", "--data", "data.parquet", "--output", "run")
    assert load_config(tmp_path / "run").data.source == str(tmp_path / "data.parquet")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    hmdc.succeeds("evaluate", tmp_path / "run")
    assert tree(tmp_path / "elsewhere") == {}
