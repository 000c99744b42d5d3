from dataclasses import replace

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.sets import check_all_fit, image_fingerprint, named_sets, with_families

IMAGES = CondensedSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.5,))


def made_by(name: str) -> CondensedSet:
    config = RunConfig.model_validate({"name": name, "matching": {"families": ["crop", "cutout"]}})
    return replace(IMAGES, config=config.model_dump(mode="json"))


def test_sets_are_named() -> None:
    assert list(named_sets(IMAGES)) == ["condensed"]
    assert list(named_sets(made_by("mine"))) == ["mine"]
    assert list(named_sets([made_by("one"), made_by("two")])) == ["one", "two"]
    assert list(named_sets([made_by("one"), made_by("one")])) == ["one 1", "one 2"]
    assert list(named_sets({"x": IMAGES, "y": made_by("one")})) == ["x", "y"]
    with pytest.raises(InputError, match="at least one"):
        named_sets([])


def test_a_fingerprint_is_of_what_is_trained_on() -> None:
    same = replace(made_by("other"), images=IMAGES.images.clone())
    others = [
        replace(IMAGES, images=IMAGES.images + 1e-6),
        replace(IMAGES, labels=torch.tensor([1, 0])),
        replace(IMAGES, formation=2),
    ]
    assert image_fingerprint(same) == image_fingerprint(IMAGES)
    assert len({image_fingerprint(each) for each in (IMAGES, *others)}) == 4


def test_families_are_those_that_the_images_were_learned_with() -> None:
    given = EvaluationConfig(families=("flip",))
    assert with_families(EvaluationConfig(), made_by("mine")).families == ("crop", "cutout")
    assert with_families(given, made_by("mine")) == given
    assert with_families(EvaluationConfig(), IMAGES).families is None
    broken = replace(IMAGES, config={"matching": {"families": ["shear"]}})
    with pytest.raises(InputError, match=r"matching\.families .* \['shear'\]"):
        with_families(EvaluationConfig(), broken)


def test_the_set_that_does_not_fit_is_named(digits: ImageDataset, digit_means: CondensedSet) -> None:
    check_all_fit({"a": digit_means, "b": digit_means}, digits.info)
    with pytest.raises(InputError, match=r"^b: data 'digits' has 10 classes"):
        check_all_fit({"a": digit_means, "b": IMAGES}, digits.info)
    with pytest.raises(InputError, match=r"^data 'digits' has 10 classes"):
        check_all_fit({"b": IMAGES}, digits.info)
