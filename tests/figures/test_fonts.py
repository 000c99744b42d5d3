"""Names in any script: drawn with a font that has their characters, or said once."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib import font_manager
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.figures import fonts
from hmdc_ray.figures.canvas import new_figure, save
from hmdc_ray.figures.fonts import fonts_for, one_line, own_font, runs
from hmdc_ray.figures.image_grid import grid_array

NOWHERE = "\U0010fffd"
"""A character for private use, which no font has."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a font that draws the characters given as triangles."""

    def forget() -> None:
        fonts._fonts_for.cache_clear()
        fonts._told.clear()

    def install(name: str, characters: str, *, ink: bool = True) -> Path:
        pen = TTGlyphPen(None)
        pen.moveTo((100, 0))
        pen.lineTo((500, 900))
        pen.lineTo((900, 0))
        pen.closePath()
        triangle, blank = pen.glyph(), TTGlyphPen(None).glyph()
        glyphs = {".notdef": blank} | {f"u{ord(each):X}": triangle if ink else blank for each in characters}
        builder = FontBuilder(1000, isTTF=True)
        builder.setupGlyphOrder(list(glyphs))
        builder.setupCharacterMap({ord(each): f"u{ord(each):X}" for each in characters})
        builder.setupGlyf(glyphs)
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
        builder.setupHorizontalHeader(ascent=900, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        path = tmp_path / "fonts" / f"{name}.ttf"
        path.parent.mkdir(exist_ok=True)
        builder.save(path)
        forget()
        return path

    for system in ("X11FontDirectories", "OSXFontDirectories"):
        monkeypatch.setattr(font_manager, system, [*getattr(font_manager, system), str(tmp_path / "fonts")])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    forget()
    yield install
    forget()


def names_drawn(name: str) -> NDArray[np.uint8]:
    """What stands left of a white image."""
    white = CondensedSet(torch.ones(1, 1, 16, 16), torch.tensor([0]), (name,), (0.0,), (1.0,))
    return grid_array(white)[:, : -(96 + 12)]


@pytest.mark.parametrize("name", ["é", "ü", "ï", "Ж", "Ω", "ø", "ş", "ع"])
def test_letters_that_matplotlibs_font_has_are_drawn(
    name: str, installed: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert fonts_for([name]) == (own_font(),)
    drawn = names_drawn(name)
    assert (drawn < 128).any() and caplog.records == []
    assert not np.array_equal(drawn, names_drawn(NOWHERE))


def test_accents_apart_are_the_letters_that_they_make() -> None:
    assert one_line("e\u0301cole\n du  soir") == "école du soir"
    assert np.array_equal(names_drawn("e\u0301cole"), names_drawn("école"))


def test_an_installed_font_draws_what_matplotlibs_lacks(
    installed: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    name = f"a{NOWHERE}b"
    names_drawn(name)
    assert "no installed font has" in caplog.text
    caplog.clear()
    path = installed("Odd", NOWHERE)
    assert fonts_for([name]) == (own_font(), path)
    assert runs(name, (own_font(), path)) == [("a", own_font()), (NOWHERE, path), ("b", own_font())]
    ink, letters = ((names_drawn(each)[..., 0] < 128).sum() for each in (name, "ab"))
    assert ink > letters + 80, "a box has an outline only, the triangle is filled"
    assert caplog.records == []


def test_fewest_fonts_are_taken_and_blank_or_broken_ones_are_not(installed: Callable[..., Path]) -> None:
    first, second, third = "\U0010fff0\U0010fff1\U0010fff2"
    installed("A", first)
    both = installed("B", first + second)
    installed("C", third, ink=False)  # as fonts of coloured layers are
    installed("Last Resort", first + second + third)
    (both.parent / "broken.ttf").write_bytes(b"no font")
    fonts._fonts_for.cache_clear()
    assert fonts_for([first, second, third]) == (own_font(), both)


def test_what_no_font_has_is_said_once(installed: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    for name in (NOWHERE, f"cat {NOWHERE}", f"{NOWHERE}\U0010fffc"):
        for _ in range(2):
            names_drawn(name)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"no installed font has {each}: pictures show boxes; install a font that has them" for each in (NOWHERE, "\U0010fffc")
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_signs_that_only_join_are_not_missed(installed: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    names_drawn("\u2764\ufe0f\u200d")
    assert caplog.records == []


def figure(name: str) -> Figure:
    page = new_figure(4, 1)
    page.text(0.02, 0.5, name)
    return page


def test_figures_are_written_with_the_same_fonts(
    installed: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of every missing character
        save(figure(NOWHERE), tmp_path / "without.png")
        assert caplog.text.count("no installed font has") == 1
        installed("Odd of figures", NOWHERE)
        save(figure(NOWHERE), tmp_path / "with.png")
        save(figure("plain"), tmp_path / "plain.png")
    assert caplog.text.count("no installed font has") == 1
    dark = {}
    for name in ("without", "with"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        dark[name] = (pixels[:, : pixels.shape[1] // 4] < 128).sum()
    assert dark["with"] != dark["without"] > 0
