from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hmdc_ray.errors import InputError
from hmdc_ray.figures.image_grid import grid_array, image_grid

WHITE = (255, 255, 255)


def names(count: int) -> list[str]:
    return [f"class {index}" for index in range(count)]


@pytest.mark.parametrize(("classes", "ipc"), [(10, 1), (10, 20), (100, 1), (100, 2), (2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_on_the_page_enlarged_crisply(classes: int, ipc: int, channels: int) -> None:
    labels = torch.arange(classes).repeat_interleave(ipc)
    red = torch.linspace(0.051, 0.89, classes * ipc)
    images = red.view(-1, 1, 1, 1).expand(-1, channels, 6, 4)

    page = grid_array(images, labels, names(classes))

    assert page.dtype == np.uint8 and page.ndim == 3 and page.shape[2] == 3
    tile_colours = set((red * 255).round().int().tolist())
    values, counts = np.unique(page[..., 0][(page == page[..., :1]).all(axis=2)], return_counts=True)
    painted = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert tile_colours <= set(painted)
    assert min(painted[colour] for colour in tile_colours) >= 24
    assert 0.2 < page.shape[1] / page.shape[0] < 8


def test_images_of_a_class_stand_in_its_row_in_order() -> None:
    images = torch.ones(4, 3, 8, 8)
    images[:, 0] = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(4, 1, 1)
    images[:, 2] = 0  # names are grey
    page = grid_array(images, torch.tensor([1, 0, 1, 1]), names(2))

    place = {
        value: np.argwhere((page == (round(255 * value), 255, 0)).all(axis=2)).mean(axis=0) for value in (0.2, 0.4, 0.6, 0.8)
    }

    assert place[0.2][0] == place[0.6][0] == place[0.8][0]
    assert place[0.2][1] < place[0.6][1] < place[0.8][1]
    assert abs(place[0.4][0] - place[0.2][0]) > 1 or abs(place[0.4][1] - place[0.2][1]) > 1


def test_colours_and_pixel_positions_are_kept_and_values_clamped() -> None:
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0, 0, 0], image[0, 1, 0, 1], image[0, 2, 1, 0] = 2.0, 0.5, 1.0
    page = grid_array(image, torch.tensor([0]), ["only"])

    red, green, blue = (
        np.argwhere((page == colour).all(axis=2)).mean(axis=0) for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255))
    )

    assert red[0] == green[0] < blue[0] and red[1] == blue[1] < green[1]


def test_names_are_drawn_at_the_left() -> None:
    images = torch.ones(2, 1, 8, 8)
    short = grid_array(images, torch.tensor([0, 1]), ["a", "b"])
    long = grid_array(images, torch.tensor([0, 1]), ["a very long name indeed, which goes on", "b"])

    assert (short < 128).any() and (long < 128).any()
    assert long.shape[1] > short.shape[1]
    assert (long[:, -60:] == WHITE).all()


def test_file_is_the_array_and_always_the_same(tmp_path: Path) -> None:
    images = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = tmp_path / "a" / "images.png", tmp_path / "b.png"

    for path in (first, second):
        image_grid(images, torch.arange(10), names(10), path)

    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as written:
        assert np.array_equal(np.asarray(written), grid_array(images, torch.arange(10), names(10)))


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"images\.png cannot be written: (Not a directory|File exists)"):
        image_grid(torch.ones(1, 1, 8, 8), torch.tensor([0]), ["a"], tmp_path / "file" / "images.png")
