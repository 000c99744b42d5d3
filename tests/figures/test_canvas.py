from pathlib import Path

import numpy as np
import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.figures.canvas import colours, luminance, save, shortened, wrapped
from hmdc_ray.figures.evaluated import accuracy_matrix

from .conftest import EvaluationFactory


@pytest.mark.parametrize("count", [1, 2, 11])
def test_colours_differ_in_lightness(count: int) -> None:
    steps = np.diff(luminance(colours(count)))

    assert len(steps) == count - 1 and (steps > 0.01).all()
    assert luminance((1, 1, 1)) == pytest.approx(1) and luminance((0, 0, 0, 1)) == 0


def test_long_names_are_cut_and_wrapped() -> None:
    assert len(shortened("x" * 100)) == 40 and shortened("x" * 100).endswith("…")
    assert shortened(" two\n words ") == "two words"
    assert wrapped("pool + GBM + MD", 10) == "pool + GBM\n+ MD"


def test_the_same_figure_gives_the_same_file(tmp_path: Path, evaluation: EvaluationFactory) -> None:
    for name in ("a.png", "b.png"):
        save(accuracy_matrix(evaluation()), tmp_path / "new" / name)

    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()


def test_unwritable_place_is_one_line(tmp_path: Path, evaluation: EvaluationFactory) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"matrix\.png cannot be written: (Not a directory|File exists)"):
        save(accuracy_matrix(evaluation()), tmp_path / "file" / "matrix.png")
