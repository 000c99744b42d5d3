"""Sets of DC's code: one of several snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions, parse_statistics
from hmdc_ray.interchange.formats import import_set
from interchange.sets import GREY, LABELS, STATED, grey_images, saved

PEERS = Path(__file__).resolve().parents[2].parent / "shared" / "peers"


def dc_content(**changes: Any) -> dict[str, Any]:
    snapshots = [[grey_images() + index, LABELS] for index in range(2)]
    return {"data": snapshots, "accs_all_exps": {"ConvNet": [np.float64(0.5)]}} | changes


def test_dc_takes_the_wanted_snapshot(tmp_path: Path) -> None:
    path = saved(tmp_path / "res.pt", dc_content())

    last = import_set(path, "dc", STATED)
    first = import_set(str(path), "dc", ImportOptions(statistics=parse_statistics("mnist"), snapshot=0))

    assert torch.equal(last.condensed.images, grey_images() + 1) and torch.equal(first.condensed.images, grey_images())
    assert (last.condensed.mean, last.condensed.std) == GREY
    assert (first.condensed.mean, first.condensed.std) == ((0.1307,), (0.3081,))
    assert last.condensed.class_names == ("0", "1") and last.condensed.formation == 1
    assert last.condensed.config is None and last.condensed.fingerprint is None
    assert "snapshot 1 of 2" in last.assumed and "snapshot 0 of 2" in first.assumed
    assert "normalised with 0.5:0.25; f 1; labels of the file; classes 0, 1" in last.assumed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "has no list 'data'"),
        ({"data": []}, "has no list 'data'"),
        ({"data": [[grey_images()]]}, "is not a pair"),
        ({"data": [[grey_images(), [0, 0, 1, 1]]]}, "labels is list, must be a tensor"),
        ({"data": [[grey_images()[0], LABELS]]}, r"shape \[1, 4, 4\], must be N x C x H x W"),
        ({"data": [[grey_images(), torch.tensor([0, 0, 1, -5])]]}, "label of row 3 is -5, must be 0 to"),
        ({"data": [[grey_images(), LABELS / 2]]}, "must be integers"),
        ({"data": [[grey_images() / 0, LABELS]]}, "row 0 are not all finite"),
        ({"data": [[grey_images(12).view(4, 3, 4, 4), LABELS]]}, "for 1 channels, but images have 3"),
    ],
)
def test_dc_of_wrong_content(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"res\.pt.*{message}"):
        import_set(saved(tmp_path / "res.pt", content), "dc", STATED)


def test_snapshots_are_counted(tmp_path: Path) -> None:
    path = saved(tmp_path / "res.pt", dc_content())

    with pytest.raises(InputError, match="--snapshot is 2, must be -2 to 1"):
        import_set(path, "dc", ImportOptions(statistics=GREY, snapshot=2))
    with pytest.raises(InputError, match="--snapshot is 0, but only files of format 'dc' hold several"):
        import_set(path, "tensors", ImportOptions(statistics=GREY, snapshot=0))


@pytest.mark.skipif(not PEERS.is_dir(), reason="the folder with published condensed sets is absent")
@pytest.mark.parametrize(
    ("name", "statistics", "shape", "snapshots"),
    [
        ("res_DC_CIFAR10_ConvNet_1ipc_1000.pt", "cifar10", (10, 3, 32, 32), 1),
        ("modelpool_res_DC_CIFAR10_ConvNet_1ipc_1000.pt", "cifar10", (10, 3, 32, 32), 1),
        ("res_DC_MNIST_ConvNet_1ipc.pt", "mnist", (10, 1, 28, 28), 5),
    ],
)
def test_published_files(name: str, statistics: str, shape: tuple[int, ...], snapshots: int) -> None:
    seen = set()
    for snapshot in range(snapshots):
        stated = ImportOptions(statistics=parse_statistics(statistics), snapshot=snapshot)
        imported = import_set(PEERS / name, "dc", stated)
        assert imported.condensed.images.shape == shape and imported.condensed.labels.tolist() == list(range(10))
        assert f"snapshot {snapshot} of {snapshots}" in imported.assumed
        seen.add(imported.condensed.images.numpy().tobytes())
    assert len(seen) == snapshots
