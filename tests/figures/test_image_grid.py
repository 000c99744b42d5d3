from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError
from hmdc_ray.figures.image_grid import grid_array, image_grid

WHITE = (255, 255, 255)


def made(images: torch.Tensor, labels: torch.Tensor, names: Sequence[str] | None = None) -> CondensedSet:
    channels = images.shape[1]
    names = names or [f"class {index}" for index in range(int(labels.max()) + 1)]
    return CondensedSet(images.contiguous(), labels, tuple(names), (0.0,) * channels, (1.0,) * channels)


def red(
    classes: int = 3,
    ipc: int = 2,
    size: tuple[int, int] = (8, 8),
    names: Sequence[str] | None = None,
    channels: int = 3,
    first: int = 50,
) -> CondensedSet:
    """Plain red images of distinct strength: of 8-bit value ``first``, ``first`` + 5, ..."""
    images = torch.zeros(classes * ipc, channels, *size)
    images[:, 0] = ((first + 5 * torch.arange(classes * ipc)) / 255).view(-1, 1, 1)
    return made(images, torch.arange(classes).repeat_interleave(ipc), names)


def place(page: np.ndarray, value: int) -> tuple[float, float, int]:
    """Middle and number of the pixels of a red."""
    found = np.argwhere((page == (value, 0, 0)).all(axis=2))
    assert len(found), value
    return *found.mean(axis=0), len(found)


@pytest.mark.parametrize(("classes", "ipc"), [(10, 1), (10, 20), (100, 1), (100, 2), (2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_on_the_page_enlarged_crisply(classes: int, ipc: int, channels: int) -> None:
    labels = torch.arange(classes).repeat_interleave(ipc)
    values = torch.linspace(0.051, 0.89, classes * ipc)

    page = grid_array(made(values.view(-1, 1, 1, 1).expand(-1, channels, 6, 4), labels))

    assert page.dtype == np.uint8 and page.ndim == 3 and page.shape[2] == 3
    tile_colours = set((values * 255).round().int().tolist())
    found, counts = np.unique(page[..., 0][(page == page[..., :1]).all(axis=2)], return_counts=True)
    painted = dict(zip(found.tolist(), counts.tolist(), strict=True))
    assert tile_colours <= set(painted)
    assert min(painted[colour] for colour in tile_colours) >= 24
    assert 0.2 < page.shape[1] / page.shape[0] < 8


def test_images_of_a_class_stand_in_its_row_in_order() -> None:
    images = torch.ones(4, 3, 8, 8)
    images[:, 0] = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(4, 1, 1)
    images[:, 2] = 0  # names are grey
    page = grid_array(made(images, torch.tensor([1, 0, 1, 1])))

    place = {
        value: np.argwhere((page == (round(255 * value), 255, 0)).all(axis=2)).mean(axis=0) for value in (0.2, 0.4, 0.6, 0.8)
    }

    assert place[0.2][0] == place[0.6][0] == place[0.8][0]
    assert place[0.2][1] < place[0.6][1] < place[0.8][1]
    assert abs(place[0.4][0] - place[0.2][0]) > 1 or abs(place[0.4][1] - place[0.2][1]) > 1


def test_colours_and_pixel_positions_are_kept_and_values_clamped() -> None:
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0, 0, 0], image[0, 1, 0, 1], image[0, 2, 1, 0] = 2.0, 0.5, 1.0
    page = grid_array(made(image, torch.tensor([0])))

    spots = [np.argwhere((page == colour).all(axis=2)) for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255))]

    assert [len(spot) for spot in spots] == [48 * 48] * 3
    red, green, blue = (spot.mean(axis=0) for spot in spots)
    assert red[0] == green[0] < blue[0] and red[1] == blue[1] < green[1]


def test_names_are_drawn_at_the_left() -> None:
    images = torch.ones(2, 1, 8, 8)
    short = grid_array(made(images, torch.tensor([0, 1]), ["a", "b"]))
    long = grid_array(made(images, torch.tensor([0, 1]), ["a very long name indeed, which goes on", "b"]))

    assert (short < 128).any() and (long < 128).any()
    assert long.shape[1] > short.shape[1]
    assert (long[:, -60:] == WHITE).all()


def test_file_is_the_array_and_always_the_same(tmp_path: Path) -> None:
    condensed = made(torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10))
    first, second = tmp_path / "a" / "images.png", tmp_path / "b.png"

    for path in (first, second):
        image_grid(condensed, path)

    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as written:
        assert np.array_equal(np.asarray(written), grid_array(condensed))


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"images\.png cannot be written: (Not a directory|File exists)"):
        image_grid(red(1, 1), tmp_path / "file" / "images.png")


# Several sets


def test_classes_are_rows_and_sets_are_columns() -> None:
    page = grid_array({"first": red(), "second": red(first=150)})

    first = [place(page, 50 + 5 * index) for index in range(6)]
    second = [place(page, 150 + 5 * index) for index in range(6)]
    for label in range(3):
        left, right = 2 * label, 2 * label + 1
        assert first[left][0] == first[right][0] == second[left][0] == second[right][0]
        assert first[left][1] < first[right][1] < second[left][1] < second[right][1]
    assert first[0][0] < first[2][0] < first[4][0]
    assert {count for *_, count in first + second} == {96 * 96}


def test_the_first_images_of_a_class_are_shown() -> None:
    page = grid_array({"few": red(ipc=1, first=200), "many": red(ipc=6)})

    for index in range(18):
        assert (page == (50 + 5 * index, 0, 0)).all(axis=2).any() == (index % 6 < 5)


def test_sizes_and_channels_may_differ() -> None:
    page = grid_array({"colour": red(ipc=1), "grey": red(ipc=1, channels=1), "large": red(ipc=1, size=(224, 224), first=150)})

    assert place(page, 150)[2] == place(page, 50)[2] == 96 * 96
    assert (page == 50).all(axis=2).sum() == 96 * 96


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_names_of_sets_stand_above_their_images(classes: int) -> None:
    page = grid_array({name: red(classes, 1) for name in ("runs/convnet-with-a-long-path", "x", "pool + GBM + MD at 1.5")})

    top, left = np.argwhere((page == (50, 0, 0)).all(axis=2)).min(axis=0)
    assert (page[12:top, left:] < 128).any() and not (page[:12] < 128).any()
    assert 0.2 < page.shape[1] / page.shape[0] < 8


def test_plain_numbers_take_the_names_of_another_set() -> None:
    numbers, words = red(names=["0", "1", "2"]), red(names=["cat", "dog", "ship"])

    assert np.array_equal(grid_array({"a": numbers, "b": words}), grid_array({"a": words, "b": words}))


def test_classes_in_another_order_are_refused() -> None:
    sets = {"a": red(names=["cat", "dog", "ship"]), "b": red(names=["cat", "ship", "dog"])}

    with pytest.raises(InputError, match="class 1 of set 'b' is 'ship': must be 'dog', as in 'a'"):
        grid_array(sets)
