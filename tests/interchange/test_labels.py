"""Labels in a file of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set
from interchange.sets import GREY, LABELS, Payload, grey_images, refused, saved


def test_labels_of_their_own_file_are_read_in_the_same_way(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.eye(3)[LABELS])
    stated = ImportOptions(statistics=GREY, labels=tmp_path / "l.npy")
    imported = import_set(saved(tmp_path / "t.pt", grey_images()), "tensors", stated)
    assert torch.equal(imported.condensed.labels, LABELS) and "one-hot labels of 3 columns" in imported.assumed


def test_code_in_labels_and_arrays_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    objects = np.array([Payload(target)], dtype=object)
    np.savez(tmp_path / "x.npz", images=objects, allow_pickle=True)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    saved(tmp_path / "x.pt", Payload(target))
    images = saved(tmp_path / "images.pt", grey_images())

    refused(tmp_path / "x.npz", "npz", r"x\.npz is not an \.npz file of plain arrays: .*Python objects")
    for name in ("x.npy", "x.pt"):
        with pytest.raises(InputError, match=rf"{name}"):
            import_set(images, "tensors", ImportOptions(statistics=GREY, labels=tmp_path / name))

    assert not target.exists()
