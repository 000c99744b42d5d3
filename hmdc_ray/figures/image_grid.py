"""A labelled grid of images: one row a class, its name at the left, enlarged without smoothing.

Few images a class make a tall strip; then the classes are laid out in several blocks side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

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


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions on the page, in pixels.

    Attributes:
        blocks: number of blocks of classes, side by side.
        rows: most classes in a block.
        columns: number of images in a row.
        tile_width: width of an enlarged image.
        tile_height: height of an enlarged image.
        pitch: distance from the top of a row to the next.
        name_width: distance from the left of a block to its images.
    """

    blocks: int
    rows: int
    columns: int
    tile_width: int
    tile_height: int
    pitch: int
    name_width: int

    @property
    def block_width(self) -> int:
        return self.name_width + self.columns * (self.tile_width + GAP)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the page."""
        width = self.blocks * (self.block_width + MARGIN) + MARGIN
        return width, self.rows * self.pitch + 2 * MARGIN


class _Pen:
    """Writes names, each character with the first font that has it.

    Args:
        fonts: files of fonts, as :func:`hmdc_ray.figures.fonts.fonts_for` finds them.
        size: font size in pixels.
    """

    def __init__(self, fonts: Sequence[Path], size: int) -> None:
        self.size = size
        self._files = fonts
        self._fonts = {file: ImageFont.truetype(file, size) for file in fonts}

    def length(self, text: str) -> float:
        return sum(self._fonts[file].getlength(run) for run, file in runs(text, self._files))

    def write(self, draw: ImageDraw.ImageDraw, right: float, middle: float, text: str) -> None:
        ascent, descent = self._fonts[self._files[0]].getmetrics()
        left = right - self.length(text)
        for run, file in runs(text, self._files):
            draw.text((left, middle + (ascent - descent) / 2), run, fill=TEXT, font=self._fonts[file], anchor="ls")
            left += self._fonts[file].getlength(run)


def grid_array(images_NCHW: Tensor, labels_N: Tensor, class_names: Sequence[str]) -> NDArray[np.uint8]:
    """Draw the grid; the same images give the same pixels where the same fonts are installed.

    Names are written with :mod:`hmdc_ray.figures.fonts`.

    Args:
        images_NCHW: images in [0, 1] with 1 or 3 channels, at least one.
        labels_N: class indices, int64. A class without images has no row; within a row images keep their order.
        class_names: names of all classes.

    Returns:
        Pixels of the grid, uint8 (height, width, 3).
    """
    assert images_NCHW.shape[1] in (1, 3) and len(images_NCHW) == len(labels_N) > 0
    by_class = {label: (labels_N == label).nonzero().flatten().tolist() for label in labels_N.unique().tolist()}
    names = [_shorten(class_names[label]) for label in by_class]
    columns = max(map(len, by_class.values()))
    scale, pen, layout = _fit(names, columns, images_NCHW.shape[2], images_NCHW.shape[3])
    page = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    tiles_NHWC = _enlarge(images_NCHW, scale)
    for place, (name, rows) in enumerate(zip(names, by_class.values(), strict=True)):
        block, row = divmod(place, layout.rows)
        left = MARGIN + block * (layout.block_width + MARGIN)
        top = MARGIN + row * layout.pitch
        middle = top + layout.pitch // 2
        images_left = left + layout.name_width
        pen.write(draw, images_left - 8, middle, name)
        for column, index in enumerate(rows):
            tile = Image.fromarray(tiles_NHWC[index])
            page.paste(tile, (images_left + column * (layout.tile_width + GAP), middle - layout.tile_height // 2))
    return np.asarray(page)


def image_grid(images_NCHW: Tensor, labels_N: Tensor, class_names: Sequence[str], path: Path) -> None:
    """Write :func:`grid_array` as a PNG file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    page = Image.fromarray(grid_array(images_NCHW, labels_N, class_names))
    with atomic_path(path) as temporary:
        page.save(temporary, format="PNG")


def _shorten(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def _fit(names: Sequence[str], columns: int, height: int, width: int) -> tuple[int, _Pen, _Layout]:
    """The largest whole enlargement with which the page stays within LONG_SIDE, in the best-looking number of blocks."""
    fonts = fonts_for(names)
    best = None
    for scale in range(max(1, LARGEST_TILE // max(height, width)), 0, -1):
        pen = _Pen(fonts, min(20, max(10, scale * height // 3)))
        name_width = math.ceil(max(pen.length(name) for name in names)) + 8
        pitch = max(scale * height, int(pen.size * 1.3)) + GAP
        layouts = [
            _Layout(-(-len(names) // rows), rows, columns, scale * width, scale * height, pitch, name_width)
            for rows in range(1, len(names) + 1)
        ]
        layout = min(layouts, key=lambda layout: _ugliness(layout, len(names)))
        best = scale, pen, layout
        if max(layout.size) <= LONG_SIDE:
            break
    assert best is not None
    return best


def _ugliness(layout: _Layout, classes: int) -> float:
    """Distance from the wanted aspect, and above all the share of the page that the last block leaves empty."""
    width, height = layout.size
    return abs(math.log(width / height / ASPECT)) + EMPTY_WEIGHT * (1 - classes / (layout.blocks * layout.rows))


def _enlarge(images_NCHW: Tensor, scale: int) -> NDArray[np.uint8]:
    pixels_NHWC = (images_NCHW.detach().cpu().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    colour_NHWC = np.broadcast_to(pixels_NHWC, (*pixels_NHWC.shape[:3], 3))
    return colour_NHWC.repeat(scale, axis=1).repeat(scale, axis=2)
