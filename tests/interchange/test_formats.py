"""Sets come back from every exported format; formats are known by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hmdc_ray.condensed import CondensedSet, load_condensed, save_condensed
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.formats import export_set, import_file, import_set
from interchange.sets import EXACT, assert_same, make_set


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


def test_import_does_not_replace_a_set(tmp_path: Path) -> None:
    export_set(make_set(), tmp_path / "set.pt", "pt")
    import_file(tmp_path / "set.pt", tmp_path / "a.parquet", "pt")

    with pytest.raises(InputError, match=r"a\.parquet exists already"):
        import_file(tmp_path / "set.pt", tmp_path / "a.parquet", "pt")
    export_set(make_set(1), tmp_path / "set.pt", "pt", overwrite=True)
    import_file(tmp_path / "set.pt", tmp_path / "a.parquet", "pt", overwrite=True)

    assert load_condensed(tmp_path / "a.parquet").images.shape[1] == 1


def test_unknown_names_are_told_the_closest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--format is 'npy', which is not known: did you mean 'npz'\?"):
        import_set(tmp_path, "npy")
    with pytest.raises(InputError, match=r"--format is 'dd-rank', which is not known: did you mean 'dd-ranking'\?"):
        export_set(make_set(), tmp_path / "x", "dd-rank")
    with pytest.raises(InputError, match="--format is 'dc', which is only imported: known: dd-ranking, image-folder, npz"):
        export_set(make_set(), tmp_path / "x", "dc")
