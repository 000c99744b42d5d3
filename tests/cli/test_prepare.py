"""The command ``hmdc prepare``, and a dry run on what it has written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from whole_runs import CommandLine, tree


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
