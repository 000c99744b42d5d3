import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmdc_ray.condensed import load_condensed, save_condensed
from hmdc_ray.data.packing import decode
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions, parse_statistics
from hmdc_ray.interchange.formats import import_set
from interchange.sets import GREY, STATED, grey_images, saved

PEERS = Path(__file__).resolve().parents[2].parent / "shared" / "peers"
LABELS = torch.tensor([0, 0, 1, 1])


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


def test_imported_set_saves_and_loads(tmp_path: Path) -> None:
    imported = import_set(saved(tmp_path / "res.pt", dc_content()), "dc", STATED).condensed

    save_condensed(tmp_path / "c.parquet", imported)

    assert torch.equal(load_condensed(tmp_path / "c.parquet").images, imported.images)


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


# HMDC


def hmdc_content(**changes: Any) -> dict[str, Any]:
    images = grey_images(6).view(3, 2, 1, 4, 4).requires_grad_()
    return {"synthetic_images": images, "init": "aug_real", "factor": 2, "n_ipc": 2, "iteration": 7} | changes


@pytest.mark.parametrize(("init", "formation"), [("aug_real", 2), ("real", 1)])
def test_hmdc_has_its_factor_in_the_file_and_labels_by_position(init: str, formation: int, tmp_path: Path) -> None:
    path = saved(tmp_path / "synthetic_images.pth", hmdc_content(init=init))

    imported = import_set(path, "hmdc", STATED).condensed

    assert torch.equal(imported.images, grey_images(6)) and imported.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert imported.formation == formation and not imported.images.requires_grad


def test_hmdc_tiles_are_the_ones_that_its_code_cuts(tmp_path: Path) -> None:
    images = grey_images(6)
    tiles = [images[..., rows, columns] for rows in (slice(0, 2), slice(2, 4)) for columns in (slice(0, 2), slice(2, 4))]
    expected = torch.nn.functional.interpolate(torch.cat(tiles), size=(4, 4), mode="bilinear", align_corners=True)

    imported = import_set(saved(tmp_path / "s.pth", hmdc_content()), "hmdc", STATED).condensed

    torch.testing.assert_close(decode(imported.images, imported.formation), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (grey_images(), "is not a dict with 'synthetic_images'"),
        (hmdc_content(synthetic_images=grey_images()), "must be classes x images x C x H x W"),
        (hmdc_content(factor="2"), "factor is '2'"),
        (hmdc_content(factor=0), "factor is 0"),
        (hmdc_content(factor=3), "3, which does not divide the image size 4x4"),
    ],
)
def test_hmdc_of_wrong_content(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"s\.pth.*{message}"):
        import_set(saved(tmp_path / "s.pth", content), "hmdc", STATED)


# IDC


def test_idc_is_pixels_with_the_factor_beside(tmp_path: Path) -> None:
    pixels = torch.linspace(-0.1, 1.2, 64).reshape(4, 1, 4, 4)  # its last steps leave 0 to 1
    path = saved(tmp_path / "data.pt", [pixels, LABELS])
    (tmp_path / "args.txt").write_text(json.dumps({"factor": 2, "decode_type": "single", "dataset": "mnist"}))

    imported = import_set(path, "idc", STATED)

    torch.testing.assert_close(imported.condensed.images, (pixels - 0.5) / 0.25)
    assert imported.condensed.formation == 2 and "pixels, to be normalised with 0.5:0.25; f 2" in imported.assumed
    with pytest.raises(InputError, match="--formation is 1, but the file or its format says 2: leave out --formation"):
        import_set(path, "idc", ImportOptions(statistics=GREY, formation=1))


def test_idc_needs_its_factor(tmp_path: Path) -> None:
    path = saved(tmp_path / "data.pt", [grey_images().sigmoid(), LABELS])

    with pytest.raises(InputError, match=r"data\.pt does not say its factor f, .*give --formation"):
        import_set(path, "idc", STATED)
    assert import_set(path, "idc", ImportOptions(statistics=GREY, formation=2)).condensed.formation == 2
    for arguments, message in (
        ('{"factor": 2, "decode_type": "multi"}', "decode_type 'multi'"),
        ("{}", "has no 'factor'"),
        ("factor 2", "has no 'factor'"),
    ):
        (tmp_path / "args.txt").write_text(arguments)
        with pytest.raises(InputError, match=rf"args\.txt.*{message}"):
            import_set(path, "idc", STATED)


# MTT, tensors


def test_mtt_finds_the_labels_beside(tmp_path: Path) -> None:
    images, labels = saved(tmp_path / "images_best.pt", grey_images()), saved(tmp_path / "labels_best.pt", LABELS)

    for path in (tmp_path, images):
        imported = import_set(path, "mtt", STATED)
        assert torch.equal(imported.condensed.images, grey_images()) and torch.equal(imported.condensed.labels, LABELS)
        assert "not ZCA-whitened" in imported.assumed
    labels.rename(tmp_path / "elsewhere.pt")
    with pytest.raises(InputError, match=r"images_best\.pt has no labels: labels_best\.pt is not beside it, give --labels"):
        import_set(images, "mtt", STATED)
    stated = ImportOptions(statistics=GREY, labels=tmp_path / "elsewhere.pt")
    assert torch.equal(import_set(images, "mtt", stated).condensed.labels, LABELS)


@pytest.mark.parametrize(
    "content",
    [[grey_images(), LABELS], (grey_images(), LABELS.int()), {"images": grey_images().double(), "labels": LABELS, "lr": 0.1}],
)
def test_tensors_in_their_usual_containers(content: Any, tmp_path: Path) -> None:
    for file_format in ("tensors", "pt"):
        imported = import_set(saved(tmp_path / "t.pt", content), file_format, STATED).condensed
        torch.testing.assert_close(imported.images, grey_images())
        assert torch.equal(imported.labels, LABELS)


def test_tensors_with_everything_stated(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.pt", grey_images().sigmoid())
    np.save(tmp_path / "labels.npy", np.array([1, 0, 1, 0], ">i4"))
    stated = ImportOptions(
        statistics=GREY, scale="pixel", formation=2, labels=tmp_path / "labels.npy", class_names=("sea lion", "dog")
    )

    imported = import_set(path, "tensors", stated).condensed

    torch.testing.assert_close(imported.images, (grey_images().sigmoid() - 0.5) / 0.25)
    assert imported.labels.tolist() == [1, 0, 1, 0] and imported.class_names == ("sea lion", "dog")
    assert imported.formation == 2
