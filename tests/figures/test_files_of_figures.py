import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmdc_ray.errors import InputError
from hmdc_ray.figures.canvas import save
from hmdc_ray.figures.evaluated import accuracy_matrix
from hmdc_ray.figures.write import run_figures

from .conftest import EvaluationFactory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record = {"step": 1, "gradient/largest_convnet": 0.5, "gbm/weight_convnet": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return tmp_path


def test_a_run_gets_its_figures(folder: Path, evaluation: EvaluationFactory) -> None:
    paths = run_figures(folder, evaluation())

    assert [path.relative_to(folder).name for path in paths] == ["gradients.png", "matrix.png", "gains.png"]
    assert {path.name for path in folder.iterdir()} == {"metrics.jsonl", "gradients.png", "matrix.png", "gains.png"}
    for path in paths:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and len(np.unique(np.asarray(picture))) > 10


def test_without_random_images_there_are_no_gains(folder: Path, evaluation: EvaluationFactory) -> None:
    assert [path.name for path in run_figures(folder, evaluation(random=False))] == ["gradients.png", "matrix.png"]


def test_the_same_figure_gives_the_same_file(tmp_path: Path, evaluation: EvaluationFactory) -> None:
    for name in ("a.png", "b.png"):
        save(accuracy_matrix(evaluation()), tmp_path / "new" / name)

    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()


def test_unwritable_place_is_one_line(tmp_path: Path, evaluation: EvaluationFactory) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"matrix\.png cannot be written: (Not a directory|File exists)"):
        save(accuracy_matrix(evaluation()), tmp_path / "file" / "matrix.png")
