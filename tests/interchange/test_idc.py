"""Sets of IDC's code: cut and enlarged with corners not aligned; filled up with grey where f does
not divide the image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmdc_ray.condensed import CondensedSet, load_condensed, save_condensed
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.sets import image_fingerprint
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_file, import_set
from interchange.sets import GREY, LABELS, STATED, assert_same, grey_images, saved

TWO = torch.tensor([0, 1])
COLOUR = ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def pixels(side: int, channels: int) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(side))


def as_its_code_decodes(stored: Tensor, factor: int) -> list[Tensor]:
    """Training images, in pixel scale, tile by tile: the f * f images of the first tile's place
    first."""
    side = stored.shape[-1]
    tile = -(-side // factor)
    page = torch.full((*stored.shape[:2], tile * factor, tile * factor), 0.5)
    page[:, :, :side, :side] = stored
    corners = [(row * tile, column * tile) for row in range(factor) for column in range(factor)]
    tiles = [page[:, :, top : top + tile, left : left + tile] for top, left in corners]
    return [torch.nn.Upsample(size=(side, side), mode="bilinear")(part) for part in tiles]


def idc_file(folder: Path, stored: Tensor, factor: int) -> Path:
    (folder / "args.txt").write_text(json.dumps({"factor": factor, "decode_type": "single"}))
    return saved(folder / "data.pt", [stored, TWO])


@pytest.mark.parametrize(
    ("side", "factor", "channels"), [(224, 3, 3), (28, 3, 1), (10, 4, 3), (5, 2, 1), (32, 2, 3), (28, 2, 1), (12, 4, 3)]
)
def test_decodes_to_the_images_of_its_code(side: int, factor: int, channels: int, tmp_path: Path) -> None:
    stored = pixels(side, channels)
    mean, std = GREY if channels == 1 else COLOUR

    target, imported = import_file(
        idc_file(tmp_path, stored, factor), tmp_path / "out", "idc", ImportOptions(statistics=(mean, std))
    )

    whole = -(-side // factor) * factor
    assert (f"filled up with grey from {side} to {whole} pixels" in imported.assumed) == (whole > side)
    assert "corners not aligned, as IDC's code does" in imported.assumed and f"f {factor}" in imported.assumed
    condensed = load_condensed(target)
    assert len(condensed.images) == 2 and condensed.ipc == 1, "stored images are counted as they are stored"
    images, labels = condensed.decoded()
    shown = images * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    torch.testing.assert_close(shown, torch.cat(as_its_code_decodes(stored, factor)), rtol=0, atol=1e-5)
    assert labels.tolist() == [0, 1] * factor**2 and len(condensed) == 2 * factor**2
    for row in (0, 1, len(condensed) - 1):
        image, label = condensed[row]
        torch.testing.assert_close(image, images[row])
        assert label == labels[row]


@pytest.fixture(params=[5, 6], ids=["uneven", "even"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> CondensedSet:
    return import_set(idc_file(tmp_path, pixels(request.param, 3), 2), "idc", ImportOptions(statistics=COLOUR)).condensed


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt", "image-folder", "dd-ranking"])
def test_comes_back_from_every_export(file_format: str, packed: CondensedSet, tmp_path: Path) -> None:
    assert packed.decoding == "idc"
    save_condensed(tmp_path / "a.parquet", packed)
    assert_same(load_condensed(tmp_path / "a.parquet"), packed)

    export_set(load_condensed(tmp_path / "a.parquet"), tmp_path / "out", file_format)
    back = import_set(tmp_path / "out", file_format).condensed

    images, labels = packed.decoded()
    if file_format == "dd-ranking":
        images, labels = images[labels.argsort(stable=True)], labels.sort().values
    tolerance = 0.003 / min(packed.std) if file_format == "image-folder" else 0
    torch.testing.assert_close(back.decoded()[0], images, rtol=0, atol=tolerance)
    assert torch.equal(back.decoded()[1], labels)


def test_tells_apart_from_other_sets(packed: CondensedSet) -> None:
    even = replace(packed, images=packed.images[:, :, :4, :4].contiguous())
    assert image_fingerprint(even) != image_fingerprint(replace(even, decoding="aligned"))


def test_a_factor_of_one_leaves_nothing_to_enlarge(tmp_path: Path) -> None:
    imported = import_set(idc_file(tmp_path, pixels(6, 1), 1), "idc", ImportOptions(statistics=GREY))
    assert imported.condensed.decoding == "aligned" and "corners" not in imported.assumed


def test_only_square_images_of_its_code_are_uneven(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f is 2, which does not divide the image size 5x4: .* only if they are square"):
        import_set(idc_file(tmp_path, pixels(5, 1)[..., :4], 2), "idc", ImportOptions(statistics=GREY))


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
