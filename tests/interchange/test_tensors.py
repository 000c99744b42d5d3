"""Any file of ``torch.save``, as far as it holds ordinary tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set
from interchange.sets import GREY, LABELS, STATED, grey_images, make_set, refused, saved


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


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
def test_tensors_that_repeat_themselves_are_refused(tmp_path: Path) -> None:
    endless = torch.zeros(1, 1, 1, 1).expand(1 << 30, 1, 4, 4)
    sparse = torch.sparse_coo_tensor(torch.zeros(4, 1, dtype=torch.int64), torch.ones(1), (1 << 30, 1, 4, 4))

    refused(saved(tmp_path / "e.pt", [endless, LABELS]), "tensors", r"e\.pt unpacks to 68,719,476,736 bytes")
    refused(saved(tmp_path / "s.pt", [sparse, LABELS]), "tensors", "is a torch.sparse_coo tensor .*, must be an ordinary one")


def test_torch_reads_the_export(tmp_path: Path) -> None:
    condensed = make_set()
    export_set(condensed, tmp_path / "pt", "pt")
    assert torch.equal(torch.load(tmp_path / "pt", weights_only=True)["images"], condensed.images)
