"""Sets of HMDC's code: packed, labels by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hmdc_ray.data.packing import decode
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.formats import import_set
from interchange.sets import NAMED, STATED, grey_images, saved


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


def test_rows_of_hmdcs_code_are_all_its_classes(tmp_path: Path) -> None:
    content = {"synthetic_images": grey_images(6).view(3, 2, 1, 4, 4), "init": "real", "factor": 1}
    path = saved(tmp_path / "s.pth", content)

    assert "highest" not in import_set(path, "hmdc", STATED).assumed
    with pytest.raises(InputError, match="10 names, but the file has 3 classes"):
        import_set(path, "hmdc", NAMED)
