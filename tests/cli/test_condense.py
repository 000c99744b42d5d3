"""The command ``hmdc condense``, in this process."""

from __future__ import annotations

import json
from pathlib import Path

from whole_runs import STEPS, CommandLine, pixels, tiniest, tree, write_config

from hmdc_ray.config.io import load_config
from hmdc_ray.run.folder import RunFolder
from hmdc_ray.server.checkpoint import CheckpointFolder


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


def test_what_fails_before_a_run_begins_is_not_resumed(hmdc: CommandLine, home: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "tiny.yaml", tiniest(home))
    refused = hmdc("condense", "tiny.yaml", "--output", "run", "--set", "schedule.checkpoint_uri=/dev/null/x")
    assert (
        refused.code == 2
        and "schedule.checkpoint_uri is '/dev/null/x', which cannot be written (Not a directory)" in refused.err
        and "resume" not in refused.err
    )
