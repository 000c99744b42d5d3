"""Sets of MTT's code: images and labels in two files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set
from interchange.sets import GREY, LABELS, STATED, grey_images, saved


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
