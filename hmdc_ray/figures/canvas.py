"""What all figures share: the page, colours that keep their order in grey, labels that fit, and the
file."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray
from rich.cells import cell_len

from hmdc_ray.figures.fonts import fonts_for, one_line
from hmdc_ray.system.files import atomic_path

DPI = 150
TEXT = "#28282e"
FAINT = "#d9d9de"
COLOURS = colormaps["cividis"]
"""Colour map that rises steadily in lightness, nearly the same to all kinds of colour vision (Nuñez
et al., 2018)."""

MARK = "•"
LONGEST_NAME = 40
ACROSS = 11
"""Characters of the longest name that is still written horizontally below a column."""

SLANT = 35
"""Angle of slanted names, in degrees."""

CHARACTER = 0.085
"""Width of a character in inches, at matplotlib's font size of 10, on average over a name and
rather too wide."""


class Page(Figure):
    """A figure whose texts are drawn with fonts that have their characters; see
    :mod:`hmdc_ray.figures.fonts`."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw without matplotlib's own warnings of missing characters, which would repeat one that
        was given already."""
        texts = [text for text in self.findobj(Text) if isinstance(text, Text) and not text.get_text().isascii()]
        families = [_family(file) for file in fonts_for(text.get_text() for text in texts)[1:]]
        if families:
            for text in texts:
                text.set_fontfamily([*dict.fromkeys([*text.get_fontfamily(), *families])])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
            super().draw(renderer)


@cache
def _family(file: Path) -> str:
    """Name by which matplotlib finds a font, which it may not know yet."""
    if all(entry.fname != str(file) for entry in fontManager.ttflist):
        fontManager.addfont(str(file))
    return str(FT2Font(str(file)).family_name)


def new_figure(width: float, height: float) -> Figure:
    """An empty page that makes room for its labels.

    Args:
        width: width in inches.
        height: height in inches.
    """
    return Page(figsize=(width, height), dpi=DPI, layout="constrained")


def colours(count: int) -> list[tuple[float, float, float, float]]:
    """So many colours, from dark to light, none so light that it fades on white."""
    return [COLOURS(value) for value in np.linspace(0.0, 0.85, count)]


def luminance(colours: ArrayLike) -> NDArray[np.float64]:
    """Relative luminance (WCAG 2) of sRGB colours (..., 3 or 4) in [0, 1]: 0 for black, 1 for
    white; (...)."""
    values = np.asarray(colours, dtype=np.float64)[..., :3]
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.dot(linear, [0.2126, 0.7152, 0.0722]), dtype=np.float64)


def wrapped(name: str, width: int) -> str:
    """The name in lines of at most ``width`` characters, half as many wide ones, broken anywhere if
    need be."""
    line = shortened(name)
    return "\n".join(textwrap.wrap(line, max(1, width * len(line) // max(1, room(line)))))


def room(text: str) -> int:
    """Width of a line in Latin characters; one of Chinese, Japanese or Korean counts as two."""
    return cell_len(text)


def shortened(name: str) -> str:
    """The name in one line, cut when it is very long; a dollar in it does not start a formula."""
    line = one_line(name)
    line = line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"
    return line.replace("$", r"\$")


def names_height(names: Sequence[str]) -> float:
    """Room in inches that :func:`name_columns` needs below the columns."""
    longest = max(room(shortened(name)) for name in names)
    return 0.45 + (CHARACTER * longest * math.sin(math.radians(SLANT)) if longest > ACROSS else 0.0)


def name_columns(axes: Axes, names: Sequence[str], marked: Collection[str], mark: str) -> None:
    """Write names below their columns at 0, 1, ..., slanted when one is long, with a mark at some,
    and below what it says."""
    shown = [shortened(name) for name in names]
    labels = [f"{label} {MARK}" if name in marked else label for label, name in zip(shown, names, strict=True)]
    axes.set_xticks(range(len(names)), labels, color=TEXT)
    if max(map(room, shown)) > ACROSS:
        for label in axes.get_xticklabels():
            label.set(rotation=SLANT, ha="right", rotation_mode="anchor")
    if any(name in marked for name in names):
        axes.set_xlabel(f"{MARK} {mark}", fontsize=8, color=TEXT, loc="right")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, whole or not at all; the same figure gives the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
