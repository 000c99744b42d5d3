"""Fonts for names in any script: matplotlib's own DejaVu Sans, beside it what is installed; what no
font has is said once.

DejaVu Sans has Latin, Greek, Cyrillic and Arabic letters and many signs; Chinese, for one, it
lacks.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

MOST_SHOWN = 20
"""Characters that a warning names."""

_logger = logging.getLogger(__name__)
_told: set[str] = set()
"""Characters that a warning has named in this process."""


@cache
def own_font() -> Path:
    """File of DejaVu Sans, found without the import of matplotlib, which takes a third of a
    second."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


def one_line(text: str) -> str:
    """The text in one line, with whole letters where it has letters and accents apart, as file
    names of macOS do."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def fonts_for(texts: Iterable[str]) -> tuple[Path, ...]:
    """Fonts that together have all characters that any installed font has: DejaVu Sans, then as few
    others as can be.

    A warning names the characters that none has, once in a process.
    """
    needed = frozenset(character for text in texts for character in text if not character.isascii())
    return _fonts_for(needed) if needed else (own_font(),)


def runs(text: str, fonts: Sequence[Path]) -> list[tuple[str, Path]]:
    """The text in pieces, each with the font that draws it: the first that has its characters, else
    the first of all.

    Args:
        text: text of one line.
        fonts: files of fonts, as :func:`fonts_for` finds them.
    """
    if len(fonts) == 1:
        return [(text, fonts[0])]
    chosen: list[Path] = []
    for character in text:
        # An accent of its own, or a sign that joins, belongs to the letter before.
        follows = chosen[-1:] if unicodedata.category(character) in ("Mn", "Me", "Cf") else []
        found = (font for font in (*follows, *fonts) if ord(character) in _code_points(font))
        chosen.append(next(found, (*follows, *fonts)[0]))
    pairs = groupby(zip(text, chosen, strict=True), key=lambda pair: pair[1])
    return [("".join(character for character, _ in group), font) for font, group in pairs]


@cache
def _fonts_for(needed: frozenset[str]) -> tuple[Path, ...]:
    fonts = [own_font()]
    missing = {character for character in needed if ord(character) not in _code_points(own_font())}
    missing = {character for character in missing if not _is_invisible(character)}
    candidates = _covers(missing) if missing else {}
    while missing and candidates:
        best = max(candidates, key=lambda font: len(candidates[font] & missing))  # the first of several alike
        if not candidates[best] & missing:
            break
        fonts.append(best)
        missing -= candidates.pop(best)
    if missing:
        _warn(missing)
    return tuple(fonts)


def _covers(characters: set[str]) -> dict[Path, set[str]]:
    """Which of the characters each installed font draws; upright fonts of normal weight first."""
    from matplotlib.font_manager import findSystemFonts
    from matplotlib.ft2font import FT2Font

    found: list[tuple[bool, Path, set[str]]] = []
    for path in findSystemFonts():  # not matplotlib's list, which stays as it is when a font is installed
        try:
            font = FT2Font(path)
            if "lastresort" in font.family_name.replace(" ", "").lower():  # it has a box for every character
                continue
            has = {character for character in characters if font.get_char_index(ord(character)) and _has_ink(path, character)}
        except (OSError, RuntimeError):  # broken, or pictures of one size
            continue
        if has:
            found.append((font.style_name not in ("Regular", "Book", "Roman"), Path(path), has))
    return {path: has for _, path, has in sorted(found, key=lambda entry: entry[:2])}


def _has_ink(font: str, character: str) -> bool:
    """Whether a character has an outline: in a font of coloured layers it may have none."""
    from PIL import ImageFont

    return ImageFont.truetype(font, 20).getmask(character).getbbox() is not None


@cache
def _code_points(font: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font)).get_charmap())


def _is_invisible(character: str) -> bool:
    """Signs that choose or join forms of their neighbours, such as the ones in an emoji of several
    parts."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def _warn(missing: set[str]) -> None:
    new = sorted(missing - _told)
    if new:
        _told.update(new)
        shown = " ".join(new[:MOST_SHOWN]) + (f" and {len(new) - MOST_SHOWN} more" if len(new) > MOST_SHOWN else "")
        _logger.warning("no installed font has %s: pictures show boxes; install a font that has them", shown)
