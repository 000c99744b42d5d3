"""MNIST under protocol dc: told by its statistics, varied and trained longer, unless the
configuration says otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, RunConfig
from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.mnist import mnist_notes, with_mnist
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.search.judging import judge
from hmdc_ray.search.without_test_split import WithoutTest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MNIST = Normalisation(*KNOWN["mnist"])
COLOURS = Normalisation(MNIST.mean * 3, MNIST.std * 3)
FASHION = Normalisation(*KNOWN["fashionmnist"])
OWN = Normalisation((0.1309,), (0.3085,))


@pytest.mark.parametrize(
    ("fields", "spaces", "epochs", "varied"),
    [
        ({}, (MNIST,), 1000, True),
        ({}, (FASHION, MNIST), 1000, True),  # the images', and the data's
        ({}, (COLOURS,), 1000, True),
        ({"epochs": 7}, (MNIST,), 7, True),
        ({"augmentation": False}, (MNIST,), 300, False),
        ({"augmentation": True, "epochs": 20}, (MNIST,), 20, True),
        ({}, (FASHION,), 300, False),
        ({}, (OWN,), 300, False),
        ({}, (Normalisation(MNIST.mean, FASHION.std),), 300, False),
        ({"protocol": "idc"}, (MNIST,), 1000, True),
        ({"protocol": "hmdc", "augmentation": False}, (MNIST,), 2000, False),
    ],
)
def test_what_is_trained(fields: dict[str, Any], spaces: tuple[Normalisation, ...], epochs: int, varied: bool) -> None:
    config = EvaluationConfig.model_validate(fields)
    made = with_mnist(config, *spaces)
    used = recipe(made)
    assert (used.epochs, used.variation != "none") == (epochs, varied)
    assert bool(mnist_notes(config, *spaces)) == (made != config)


def test_the_line_says_what_was_taken_for_what() -> None:
    assert mnist_notes(EvaluationConfig(), MNIST) == (
        "MNIST by its statistics: protocol dc trains 1000 epochs with crop, scale, rotate"
        " (evaluation.augmentation=false: without them)",
    )
    assert "trains 40 epochs" in mnist_notes(EvaluationConfig(epochs=40), COLOURS)[0]


def judged(condensed: CondensedSet, digits: ImageDataset, cache: Path, **fields: Any) -> Evaluation:
    evaluation = {"students": ["mlp"], "seeds": 1, "epochs": 2, "baselines": "none", **fields}
    config = RunConfig.model_validate({"data": {"cache": str(cache)}, "evaluation": evaluation})
    return conduct(condensed, config, pool=None, executor=InProcess(), progress=lambda done, total: None)


def test_an_evaluation_goes_by_the_statistics_of_the_images(
    digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path
) -> None:
    named = replace(digit_means, mean=MNIST.mean, std=MNIST.std)
    plain, varied, stated = (
        judged(condensed, digits, tmp_path, **fields)
        for condensed, fields in ((digit_means, {}), (named, {}), (named, {"augmentation": False}))
    )
    assert [made.augmentation for made in (plain, varied, stated)] == [False, True, False]
    assert varied.recipe is not None and varied.recipe.variation == "crop_scale_rotate"
    again = judged(named, digits, tmp_path, augmentation=True)
    assert again.rows == varied.rows


def test_a_search_judges_as_an_evaluation_does(digits: ImageDataset, digit_means: CondensedSet) -> None:
    config = RunConfig.model_validate(
        {"evaluation": {"students": ["mlp"], "seeds": 1, "epochs": 2, "split": "validation", "baselines": "none"}}
    )
    named = replace(digit_means, mean=MNIST.mean, std=MNIST.std)
    assert judge(named, config, WithoutTest(digits), "cpu").augmentation
    assert not judge(digit_means, config, WithoutTest(digits), "cpu").augmentation


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder with published condensed sets is absent")
def test_a_published_set_has_its_published_accuracy_as_it_is(tmp_path: Path) -> None:
    published = SHARED / "peers/res_DC_MNIST_ConvNet_1ipc.pt"
    condensed = import_set(published, "dc", ImportOptions(statistics=KNOWN["mnist"], snapshot=0)).condensed
    data = {"source": str(SHARED / "data/mnist/test-00000-of-00001.parquet"), "cache": str(tmp_path)}
    evaluation = {"students": ["lenet"], "seeds": 1, "baselines": "none"}
    config = RunConfig.model_validate({"data": data, "evaluation": evaluation})

    made = conduct(condensed, config, pool=None, executor=InProcess(), progress=lambda done, total: None)

    assert (made.epochs, made.augmentation) == (1000, True)
    row = made.rows[0].condensed
    # Published for LeNet: 85.6 %, on the whole test split; without augmentation it is 69 to 75.
    assert row is not None and row.mean == pytest.approx(0.85, abs=0.06)
