"""Folders of DD-Ranking: decoded images, sorted by class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import assert_same, make_set


@pytest.mark.parametrize("factor", [1, 2])
def test_dd_ranking_holds_decoded_images_by_class(factor: int, tmp_path: Path) -> None:
    condensed = make_set(formation=factor)
    export_set(condensed, tmp_path / "dd", "dd-ranking")

    images, labels = (torch.load(tmp_path / "dd" / name, weights_only=True) for name in ("images.pt", "labels.pt"))
    decoded, decoded_labels = condensed.decoded()
    assert labels.tolist() == sorted(decoded_labels.tolist()) and labels.dtype == torch.int64
    for label in range(3):
        assert torch.equal(images[labels == label], decoded[decoded_labels == label])

    stated = ImportOptions(statistics=(condensed.mean, condensed.std))
    for path in (tmp_path / "dd", tmp_path / "dd/images.pt"):
        back = import_set(path, "dd-ranking", stated).condensed
        assert_same(back, replace(condensed, images=images, labels=labels, formation=1))
    (tmp_path / "dd/metadata.json").unlink()
    with pytest.raises(InputError, match="give --statistics"):
        import_set(tmp_path / "dd", "dd-ranking")
    plain = import_set(tmp_path / "dd", "dd-ranking", stated).condensed
    assert torch.equal(plain.images, images) and plain.formation == 1 and plain.class_names == ("0", "1", "2")
