import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
