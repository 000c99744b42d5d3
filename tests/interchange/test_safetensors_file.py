"""Sets as safetensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hmdc_ray.interchange.formats import export_set
from interchange.sets import make_set, refused


def test_safetensors_header_beyond_the_data_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"images": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text)

    refused(tmp_path / "x", "safetensors", "is not a file of safetensors")


def test_safetensors_reads_the_export(tmp_path: Path) -> None:
    condensed = make_set()
    export_set(condensed, tmp_path / "set", "safetensors")
    assert torch.equal(load_file(tmp_path / "set")["labels"], condensed.labels)


def test_files_without_images_are_refused(tmp_path: Path) -> None:
    save_file({"weights": torch.zeros(3)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "safetensors", "holds neither a tensor of images.*: it has 'weights'")
