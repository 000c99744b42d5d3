"""Condensed images of several runs side by side (HMDC, arXiv 2409.14538, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError
from hmdc_ray.figures.canvas import DPI, TEXT, Page, room, shortened, wrapped

# All in pixels.
LARGEST_TILE = 96
SMALLEST_TILE = 24
PAGE_HEIGHT = 2400
GAP = 3
MARGIN = 16
LINE_HEIGHT = 20
CHARACTER_WIDTH = 10

FONT_SIZE = 7.5
"""Font size in points; a line fits LINE_HEIGHT, and a character CHARACTER_WIDTH."""

TITLE_WIDTH = 12
"""Characters that a title has room for, however narrow its block."""


def condensed_side_by_side(sets: Sequence[tuple[str, CondensedSet]], per_class: int = 5) -> Figure:
    """Draw one block of images per set, classes in rows under the same name, as they are stored (not decoded).

    Args:
        sets: names to show and condensed sets, at least one, all with the same classes in the same order, whatever
            their names.
        per_class: most images of a class shown of each set; the first ones are taken.

    Raises:
        InputError: ``per_class`` is below 1, there is no set, or the sets differ in the number or the order of classes.
    """
    names = _class_names(sets)
    if per_class < 1:
        raise InputError(f"per_class is {per_class}: must be at least 1")
    height, width = _tile_size(sets[0][1], len(names))
    blocks = [_block(condensed, min(per_class, condensed.ipc), len(names), height, width) for _, condensed in sets]
    places = [max(block.shape[1], TITLE_WIDTH * CHARACTER_WIDTH) for block in blocks]
    titles = [wrapped(title, place // CHARACTER_WIDTH) for (title, _), place in zip(sets, places, strict=True)]
    left = MARGIN + CHARACTER_WIDTH * max(map(room, names)) + MARGIN // 2
    top = MARGIN + LINE_HEIGHT * max(title.count("\n") + 1 for title in titles)
    page = _Page(left + sum(places) + MARGIN * len(places), top + blocks[0].shape[0] + MARGIN)
    for row, name in enumerate(names):
        page.write(name, left - MARGIN // 2, top + row * (height + GAP) + height / 2, ha="right", va="center")
    for title, block, place in zip(titles, blocks, places, strict=True):
        page.write(title, left + place / 2, top - 6, ha="center", va="bottom")
        page.paste(block, left + (place - block.shape[1]) // 2, top)
        left += place + MARGIN
    return page.figure


class _Page:
    """A figure on which places are pixels from the left and from the top, so that enlarged images stay crisp.

    Attributes:
        figure: matplotlib figure to draw on.
    """

    def __init__(self, width: int, height: int) -> None:
        self.figure = Page(figsize=(width / DPI, height / DPI), dpi=DPI)
        self._width = width
        self._height = height

    def write(self, text: str, x: float, y: float, ha: Literal["center", "right"], va: Literal["center", "bottom"]) -> None:
        self.figure.text(x / self._width, 1 - y / self._height, text, fontsize=FONT_SIZE, color=TEXT, ha=ha, va=va)

    def paste(self, image_HWC: NDArray[np.uint8], left: int, top: int) -> None:
        height, width = image_HWC.shape[:2]
        bottom = self._height - top - height
        axes = self.figure.add_axes((left / self._width, bottom / self._height, width / self._width, height / self._height))
        axes.imshow(image_HWC, interpolation="nearest", aspect="auto")
        axes.set_axis_off()


def _class_names(sets: Sequence[tuple[str, CondensedSet]]) -> list[str]:
    """Names of the rows: those of the first set, or of the first one whose classes are not just called 0, 1, ..."""
    if not sets:
        raise InputError("sets is empty: must hold at least one condensed set")
    named = [entry for entry in sets if not all(name.isdecimal() for name in entry[1].class_names)]
    reference, names = (named or sets)[0][0], (named or sets)[0][1].class_names
    for title, condensed in sets:
        others = condensed.class_names
        if len(others) != len(names):
            raise InputError(f"set {title!r} has {len(others)} classes: must be {len(names)}, as in {reference!r}")
        if others != names and sorted(others) == sorted(names):
            first = next(index for index, name in enumerate(names) if others[index] != name)
            raise InputError(
                f"class {first} of set {title!r} is {others[first]!r}: must be {names[first]!r}, as in {reference!r}"
            )
    return [shortened(name) for name in names]


def _tile_size(condensed: CondensedSet, classes: int) -> tuple[int, int]:
    """Height and width of a shown image: a whole multiple of the stored size, or the stored size shrunk."""
    height, width = condensed.images.shape[2:]
    limit = min(LARGEST_TILE, max(SMALLEST_TILE, PAGE_HEIGHT // classes))
    longest = max(height, width)
    if longest <= limit:
        return height * (limit // longest), width * (limit // longest)
    return max(1, round(height * limit / longest)), max(1, round(width * limit / longest))


def _block(condensed: CondensedSet, columns: int, classes: int, height: int, width: int) -> NDArray[np.uint8]:
    """A set's images on white, uint8 (page height, page width, 3); a class with fewer images leaves white."""
    tiles_NCHW = (_resized(condensed.pixels().cpu(), height, width) * 255).round().to(torch.uint8)
    tiles_NHWC = tiles_NCHW.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    page = np.full((classes * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for label in range(classes):
        rows = (condensed.labels == label).nonzero().flatten().tolist()[:columns]
        for column, index in enumerate(rows):
            top, left = label * (height + GAP), column * (width + GAP)
            page[top : top + height, left : left + width] = tiles_NHWC[index]
    return page


def _resized(images_NCHW: Tensor, height: int, width: int) -> Tensor:
    shrinks = height < images_NCHW.shape[2] or width < images_NCHW.shape[3]
    return F.interpolate(images_NCHW, (height, width), mode="area" if shrinks else "nearest-exact")
