from collections.abc import Sequence

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError
from hmdc_ray.figures.side_by_side import condensed_side_by_side


def made(
    classes: int = 3,
    ipc: int = 2,
    size: tuple[int, int] = (8, 8),
    names: Sequence[str] | None = None,
    channels: int = 3,
    first: int = 50,
) -> CondensedSet:
    """Plain red images of distinct strength: of 8-bit value ``first``, ``first`` + 5, ..."""
    count = classes * ipc
    images = torch.zeros(count, channels, *size)
    images[:, 0] = ((first + 5 * torch.arange(count)) / 255).view(-1, 1, 1)
    labels = torch.arange(classes).repeat_interleave(ipc)
    statistics = (0.0,) * channels, (1.0,) * channels
    return CondensedSet(images, labels, tuple(names or [f"class {label}" for label in range(classes)]), *statistics)


def drawn(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def place(page: np.ndarray, red: int) -> tuple[float, float, int]:
    """Middle and number of the pixels of a colour."""
    found = np.argwhere((page == (red, 0, 0)).all(axis=2))
    assert len(found), red
    return *found.mean(axis=0), len(found)


def test_classes_are_rows_and_sets_are_columns() -> None:
    page = drawn(condensed_side_by_side([("first", made()), ("second", made(first=150))]))

    first = [place(page, 50 + 5 * index) for index in range(6)]
    second = [place(page, 150 + 5 * index) for index in range(6)]
    for label in range(3):
        left, right = 2 * label, 2 * label + 1
        assert first[left][0] == first[right][0] == second[left][0] == second[right][0]
        assert first[left][1] < first[right][1] < second[left][1] < second[right][1]
    assert first[0][0] < first[2][0] < first[4][0]


def test_images_are_enlarged_by_a_whole_number_without_blur() -> None:
    page = drawn(condensed_side_by_side([("only", made(size=(8, 6)))]))

    assert {place(page, 50 + 5 * index)[2] for index in range(6)} == {96 * 72}


def test_pixels_are_kept_in_their_places() -> None:
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0, 0, 0], image[0, 1, 0, 1], image[0, 2, 1, 0] = 2.0, 0.5, 1.0  # the first is clamped
    page = drawn(condensed_side_by_side([("x", CondensedSet(image, torch.tensor([0]), ("a",), (0.0,) * 3, (1.0,) * 3))]))

    spots = [np.argwhere((page == colour).all(axis=2)) for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255))]

    assert [len(spot) for spot in spots] == [48 * 48] * 3
    red, green, blue = (spot.mean(axis=0) for spot in spots)
    assert red[0] == green[0] < blue[0] and red[1] == blue[1] < green[1]


def test_so_many_images_of_a_class_are_shown() -> None:
    page = drawn(condensed_side_by_side([("few", made(ipc=1, first=200)), ("many", made(ipc=4))], per_class=2))

    for index in range(12):
        colour = (50 + 5 * index, 0, 0)
        assert (page == colour).all(axis=2).any() == (index % 4 < 2)


def test_sizes_and_channels_may_differ() -> None:
    sets = [("colour", made()), ("grey", made(channels=1)), ("large", made(size=(224, 224), first=150))]

    page = drawn(condensed_side_by_side(sets, per_class=1))

    assert place(page, 150)[2] == place(page, 50)[2] == 96 * 96
    assert ((page == 50).all(axis=2)).sum() == 96 * 96


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_names_stay_on_the_page_and_apart(classes: int) -> None:
    sets = [(name, made(classes, 1)) for name in ("runs/convnet-with-a-long-path", "x", "pool + GBM + MD + KD at 1.5")]
    figure = condensed_side_by_side(sets, per_class=1)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]

    boxes = [text.get_window_extent() for text in figure.texts]
    assert len(boxes) == classes + len(sets)
    assert all(figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max) for box in boxes)
    images = [axes.get_window_extent() for axes in figure.axes]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in [*boxes[index + 1 :], *images])


def test_plain_numbers_take_the_names_of_another_set() -> None:
    figure = condensed_side_by_side([("imported", made(names=["0", "1", "2"])), ("run", made(names=["cat", "dog", "ship"]))])

    assert [text.get_text() for text in figure.texts][:3] == ["cat", "dog", "ship"]


@pytest.mark.parametrize(
    ("sets", "per_class", "message"),
    [
        ([], 1, "sets is empty"),
        ([("a", made())], 0, "per_class is 0: must be at least 1"),
        ([("a", made()), ("b", made(classes=2))], 1, "set 'b' has 2 classes: must be 3, as in 'a'"),
        (
            [("a", made(names=["cat", "dog", "ship"])), ("b", made(names=["cat", "ship", "dog"]))],
            1,
            "class 1 of set 'b' is 'ship': must be 'dog', as in 'a'",
        ),
    ],
)
def test_sets_that_do_not_fit_are_refused(sets: list[tuple[str, CondensedSet]], per_class: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        condensed_side_by_side(sets, per_class=per_class)
