import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from safetensors.torch import load_file

from hmdc_ray.condensed import CondensedSet, load_condensed, save_condensed
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_file, import_set
from interchange.sets import METADATA, assert_same, make_set

EXACT = ("npz", "safetensors", "pt")


@st.composite
def condensed_sets(draw: st.DrawFn) -> CondensedSet:
    """Any set: odd values and names, f 1 or 2, grey or colour, classes without images."""
    channels, factor = draw(st.sampled_from((1, 3))), draw(st.sampled_from((1, 2)))
    count, tile = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)
    images = draw(arrays.arrays(np.float32, (count, channels, tile * factor, 2 * factor), elements=values))
    names = draw(st.lists(st.text(max_size=80), min_size=1, max_size=12))
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    positive = st.floats(min_value=1e-300, allow_infinity=False)
    low = draw(st.floats(-1e6, 1e6))
    return CondensedSet(
        images=torch.from_numpy(images),
        labels=torch.tensor(draw(st.lists(st.integers(0, len(names) - 1), min_size=count, max_size=count))),
        class_names=tuple(names),
        mean=tuple(draw(st.lists(numbers, min_size=channels, max_size=channels))),
        std=tuple(draw(st.lists(positive, min_size=channels, max_size=channels))),
        formation=factor,
        value_range=(low, low + draw(st.floats(1, 1e6))),
        config=draw(st.none() | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)),
        fingerprint=draw(st.none() | st.text(max_size=20)),
    )


@pytest.mark.parametrize("file_format", EXACT)
def test_any_set_comes_back_bit_for_bit(file_format: str, tmp_path: Path) -> None:
    @settings(max_examples=40, deadline=None, database=None)
    @given(condensed_sets())
    def check(condensed: CondensedSet) -> None:
        export_set(condensed, tmp_path / "set", file_format, overwrite=True)
        assert_same(import_set(tmp_path / "set", file_format).condensed, condensed)

    check()


@pytest.mark.parametrize("file_format", EXACT)
@pytest.mark.parametrize("channels", [1, 3])
def test_packed_set_with_metadata_through_the_parquet_file(file_format: str, channels: int, tmp_path: Path) -> None:
    condensed = make_set(channels)
    condensed.images[0, 0, 0, :3] = torch.tensor([-0.0, 1e-42, 3.4e38])
    save_condensed(tmp_path / "run/condensed.parquet", condensed)

    export_set(load_condensed(tmp_path / "run"), tmp_path / f"set.{file_format}", file_format)
    target, imported = import_file(tmp_path / f"set.{file_format}", tmp_path / "back", file_format)

    assert target == tmp_path / "back/condensed.parquet"
    assert_same(load_condensed(tmp_path / "back"), condensed)
    assert "f 2" in imported.assumed and "6 images of" in imported.assumed


def test_other_tools_read_the_exports(tmp_path: Path) -> None:
    condensed = make_set()
    for file_format in EXACT:
        export_set(condensed, tmp_path / file_format, file_format)

    with np.load(tmp_path / "npz") as file:
        assert np.array_equal(file["images"], condensed.images.numpy()) and json.loads(str(file["metadata"]))["formation"] == 2
    assert torch.equal(load_file(tmp_path / "safetensors")["labels"], condensed.labels)
    assert torch.equal(torch.load(tmp_path / "pt", weights_only=True)["images"], condensed.images)


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-0.5, 2.0)])
def test_image_folder_keeps_half_a_grey_level(channels: int, value_range: tuple[float, float], tmp_path: Path) -> None:
    condensed = make_set(channels, value_range=value_range)
    export_set(condensed, tmp_path / "folder", "image-folder")

    back = import_set(tmp_path / "folder", "image-folder").condensed

    assert (back.pixels() - condensed.pixels()).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(back.labels, condensed.labels)
    assert {name: getattr(back, name) for name in METADATA} == {name: getattr(condensed, name) for name in METADATA}


def test_image_folder_has_safe_names_and_real_pictures(tmp_path: Path) -> None:
    condensed = make_set()
    export_set(condensed, tmp_path / "folder", "image-folder")

    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["0_cat_dog", "1_hre", "2_class", "index.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with Image.open(tmp_path / "folder/2_class/3.png") as picture:
        shown = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
    assert torch.equal(shown, (condensed.pixels()[3] * 255).round().to(torch.uint8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=100), min_size=1, max_size=12))
def test_no_class_name_leaves_the_folder(names: list[str]) -> None:
    from hmdc_ray.interchange.image_folder import _safe

    for name in names:
        safe = _safe(name)
        assert safe and safe == Path(safe).name and safe.isascii() and set(safe).isdisjoint("/\\.: \0\n") and len(safe) <= 60


def test_plain_image_folder_is_pixels_to_be_normalised(tmp_path: Path) -> None:
    for name, level in (("dog", 51), ("cat", 204)):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("L", (4, 3), level).save(tmp_path / "in" / name / "a.png")

    back = import_set(tmp_path / "in", "image-folder", ImportOptions(statistics=((0.5,), (0.25,)))).condensed

    assert back.class_names == ("cat", "dog") and back.formation == 1 and back.images.shape == (2, 1, 3, 4)
    torch.testing.assert_close(back.images[:, 0, 0, 0], torch.tensor([1.2, -1.2]))


# Existing outputs


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt", "dd-ranking", "image-folder"])
def test_existing_output_is_kept_unless_asked(file_format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_set(make_set(), out, file_format)
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"out exists already: .*--overwrite|out is a folder"):
        export_set(make_set(1), out, file_format)
    assert content(tmp_path) == before
    export_set(make_set(1), out, file_format, overwrite=True)

    assert import_set(out, file_format).condensed.images.shape[1] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("file_format", ["npz", "safetensors", "pt", "dd-ranking", "image-folder"])
def test_failure_keeps_the_old_output(file_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_set(make_set(), tmp_path / "out", file_format)
    before = content(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="out cannot be written: No space left on device"):
        export_set(make_set(1), tmp_path / "out", file_format, overwrite=True)

    assert content(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_set(make_set(), tmp_path / "out", "dd-ranking")
    before, rename = content(tmp_path), Path.rename

    def refuses(self: Path, target: Any) -> Path:
        if Path(target).name == "out" and not self.name.endswith(".old"):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(InputError, match="out cannot be written: Permission denied"):
        export_set(make_set(1), tmp_path / "out", "dd-ranking", overwrite=True)

    assert content(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("name", "reason"), [("thesis.txt", "it holds 'thesis.txt'"), ("photo.png", "it has no index.json")])
def test_only_an_earlier_export_is_overwritten(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("precious")

    with pytest.raises(InputError, match=rf"mine is no earlier export of this format \({reason}\)"):
        export_set(make_set(), tmp_path / "mine", "image-folder", overwrite=True)

    assert content(tmp_path) == {f"mine/{name}": b"precious"}


def test_import_does_not_replace_a_set(tmp_path: Path) -> None:
    export_set(make_set(), tmp_path / "set.pt", "pt")
    import_file(tmp_path / "set.pt", tmp_path / "a.parquet", "pt")

    with pytest.raises(InputError, match=r"a\.parquet exists already"):
        import_file(tmp_path / "set.pt", tmp_path / "a.parquet", "pt")
    export_set(make_set(1), tmp_path / "set.pt", "pt", overwrite=True)
    import_file(tmp_path / "set.pt", tmp_path / "a.parquet", "pt", overwrite=True)

    assert load_condensed(tmp_path / "a.parquet").images.shape[1] == 1
