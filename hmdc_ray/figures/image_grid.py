"""Labelled images of condensed sets: one row a class, its name at the left, enlarged without
smoothing.

Few images a class make a tall strip; then the classes are laid out in several blocks side by side.
Of several sets each has columns of its own, below its name (HMDC, arXiv 2409.14538, figure 3).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.errors import InputError
from hmdc_ray.figures.fonts import fonts_for, one_line, runs
from hmdc_ray.system.files import atomic_path

BACKGROUND = (255, 255, 255)
TEXT = (40, 40, 46)
ASPECT = 1.6
EMPTY_WEIGHT = 4.0
LONG_SIDE = 2000
LARGEST_TILE = 96
LONGEST_NAME = 24
GAP = 2
MARGIN = 12

PER_CLASS = 5
"""Most images of a class that are shown of each of several sets, the first ones."""

TITLE_WIDTH = 120
"""Least width in pixels of a set's columns below its name."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions on the page, in pixels.

    Attributes:
        blocks: number of blocks of classes, side by side.
        rows: most classes in a block.
        columns: number of images in a row, of each set.
        tile_width: width of an enlarged image.
        tile_height: height of an enlarged image.
        pitch: distance from the top of a row to the next.
        name_width: distance from the left of a block to its images.
        title_height: height of the sets' names; 0 for one set, which has none.
    """

    blocks: int
    rows: int
    columns: tuple[int, ...]
    tile_width: int
    tile_height: int
    pitch: int
    name_width: int
    title_height: int

    @property
    def edges(self) -> list[int]:
        """Left edges of the sets' images within a block, and the width of the block."""
        widths = [columns * (self.tile_width + GAP) for columns in self.columns]
        if len(widths) > 1:
            widths = [max(width, TITLE_WIDTH) + MARGIN for width in widths]
        return list(accumulate(widths, initial=self.name_width))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the page."""
        width = self.blocks * (self.edges[-1] + MARGIN) + MARGIN
        return width, self.title_height + self.rows * self.pitch + 2 * MARGIN


class _Pen:
    """Writes names, each character with the first font that has it.

    Args:
        fonts: files of fonts, as :func:`hmdc_ray.figures.fonts.fonts_for` finds them.
        size: font size in pixels.
    """

    def __init__(self, fonts: Sequence[Path], size: int) -> None:
        self.size = size
        self.line_height = int(size * 1.3)
        self._files = fonts
        self._fonts = {file: ImageFont.truetype(file, size) for file in fonts}

    def length(self, text: str) -> float:
        return sum(self._fonts[file].getlength(run) for run, file in runs(text, self._files))

    def lines(self, text: str, width: int) -> list[str]:
        """The text in lines of at most about this width."""
        return textwrap.wrap(text, max(1, int(width * len(text) / max(1.0, self.length(text)))))

    def write(self, draw: ImageDraw.ImageDraw, left: float, middle: float, text: str) -> None:
        ascent, descent = self._fonts[self._files[0]].getmetrics()
        for run, file in runs(text, self._files):
            draw.text((left, middle + (ascent - descent) / 2), run, fill=TEXT, font=self._fonts[file], anchor="ls")
            left += self._fonts[file].getlength(run)


def grid_array(sets: CondensedSet | Mapping[str, CondensedSet]) -> NDArray[np.uint8]:
    """Draw the grid; the same images give the same pixels where the same fonts are installed.

    Images are shown as they are stored (not decoded), those of other sets at the size of the first
    one's. A class without images has no row; within a row images keep their order. Names are
    written with :mod:`hmdc_ray.figures.fonts`.

    Args:
        sets: the set, or sets by name, at least one, with the same classes in the same order,
            whatever their names.

    Returns:
        Pixels of the grid, uint8 (height, width, 3).

    Raises:
        InputError: the sets differ in the order of classes.
    """
    named = {"": sets} if isinstance(sets, CondensedSet) else dict(sets)
    class_names, most = _class_names(named), None if len(named) == 1 else PER_CLASS
    shown = [_rows(condensed, most) for condensed in named.values()]
    labels = sorted({label for rows in shown for label in rows})
    names = [_shorten(class_names[label]) for label in labels]
    titles = [one_line(title) for title in named] if most else []
    columns = tuple(max(map(len, rows.values())) for rows in shown)
    pen, layout = _fit(names, titles, columns, *next(iter(named.values())).images.shape[2:])
    page = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    tiles = [_tiles(condensed, layout) for condensed in named.values()]
    for place, (label, name) in enumerate(zip(labels, names, strict=True)):
        block, row = divmod(place, layout.rows)
        left = MARGIN + block * (layout.edges[-1] + MARGIN)
        middle = MARGIN + layout.title_height + row * layout.pitch + layout.pitch // 2
        pen.write(draw, left + layout.name_width - 8 - pen.length(name), middle, name)
        for of_set, rows, edge in zip(tiles, shown, layout.edges, strict=False):
            for column, index in enumerate(rows.get(label, ())):
                position = left + edge + column * (layout.tile_width + GAP), middle - layout.tile_height // 2
                page.paste(of_set[index], position)
        for title, (edge, end) in zip(titles, pairwise(layout.edges), strict=False) if row == 0 else ():
            for line, text in enumerate(pen.lines(title, end - edge - MARGIN)):
                pen.write(draw, left + edge, MARGIN + (line + 0.5) * pen.line_height, text)
    return np.asarray(page)


def image_grid(sets: CondensedSet | Mapping[str, CondensedSet], path: Path) -> None:
    """Write :func:`grid_array` as a PNG file, whole or not at all.

    Raises:
        InputError: the file cannot be written, or the sets differ in the order of classes.
    """
    page = Image.fromarray(grid_array(sets))
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG")


def _class_names(sets: Mapping[str, CondensedSet]) -> tuple[str, ...]:
    """Names of the rows: those of the first set, or of the first one whose classes are not just
    called 0, 1, ..."""
    named = [name for name, each in sets.items() if not all(text.isdecimal() for text in each.class_names)]
    reference = (named or list(sets))[0]
    names = sets[reference].class_names
    for title, condensed in sets.items():
        others = condensed.class_names
        if others != names and sorted(others) == sorted(names):
            first = next(index for index, name in enumerate(names) if others[index] != name)
            raise InputError(
                f"class {first} of set {title!r} is {others[first]!r}: must be {names[first]!r}, as in {reference!r}"
            )
    return names


def _rows(condensed: CondensedSet, most: int | None) -> dict[int, list[int]]:
    """Positions of the first ``most`` images of every class that has any, by class."""
    labels_N = condensed.labels
    return {label: (labels_N == label).nonzero().flatten().tolist()[:most] for label in labels_N.unique().tolist()}


def _shorten(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def _fit(
    names: Sequence[str], titles: Sequence[str], columns: tuple[int, ...], height: int, width: int
) -> tuple[_Pen, _Layout]:
    """The largest whole enlargement with which the page stays within LONG_SIDE, in the best-looking
    number of blocks."""
    fonts = fonts_for([*names, *titles])
    best = None
    for scale in range(max(1, LARGEST_TILE // max(height, width)), 0, -1):
        pen = _Pen(fonts, min(20, max(10, scale * height // 3)))
        name_width = math.ceil(max(pen.length(name) for name in names)) + 8
        pitch = max(scale * height, pen.line_height) + GAP
        widths = (max(number * (scale * width + GAP), TITLE_WIDTH) for number in columns)
        lines = max((len(pen.lines(*pair)) for pair in zip(titles, widths, strict=False)), default=0)
        layouts = [
            _Layout(
                -(-len(names) // rows),
                rows,
                columns,
                scale * width,
                scale * height,
                pitch,
                name_width,
                lines * pen.line_height,
            )
            for rows in range(1, len(names) + 1)
        ]
        layout = min(layouts, key=lambda layout: _ugliness(layout, len(names)))
        best = pen, layout
        if max(layout.size) <= LONG_SIDE:
            break
    assert best is not None
    return best


def _ugliness(layout: _Layout, classes: int) -> float:
    """Distance from the wanted aspect, and above all the share of the page that the last block
    leaves empty."""
    width, height = layout.size
    return abs(math.log(width / height / ASPECT)) + EMPTY_WEIGHT * (1 - classes / (layout.blocks * layout.rows))


def _tiles(condensed: CondensedSet, layout: _Layout) -> list[Image.Image]:
    """The stored images at the size of a tile, enlarged without smoothing, or shrunk by
    averages."""
    size = layout.tile_width, layout.tile_height
    height, width = condensed.images.shape[2:]
    how = Image.Resampling.BOX if height > size[1] or width > size[0] else Image.Resampling.NEAREST
    pixels_NHWC = (condensed.pixels().cpu() * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(pixels_HWC).resize(size, how) for pixels_HWC in pixels_NHWC]
