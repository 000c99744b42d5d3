from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.request import evaluation_config

IMAGES = CondensedSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.5,))
OWN = RunConfig.model_validate(
    {
        "data": {"source": "digits", "cache": "somewhere"},
        "evaluation": {"students": ["mlp", {"architecture": "nets:small", "options": {"width": 3}}]},
    }
)
KNOWING = replace(IMAGES, config=OWN.model_dump(mode="json"))


def test_images_without_a_configuration_need_data() -> None:
    with pytest.raises(InputError, match="--data"):
        evaluation_config(IMAGES, data=None, architectures=None, assignments=[])
    config = evaluation_config(IMAGES, data="digits", architectures=None, assignments=["evaluation.seeds=2"])
    assert config.evaluation.seeds == 2
    assert [student.name for student in config.evaluation.students] == ["convnet", "mlp", "lenet"]


def test_code_that_only_the_images_name_is_not_imported() -> None:
    for architectures in (None, "mlp,small"):
        with pytest.raises(InputError, match=r"'nets:small'.*--architectures nets:small"):
            evaluation_config(KNOWING, data=None, architectures=architectures, assignments=[])


def test_code_that_the_user_names_keeps_the_options_of_the_run() -> None:
    config = evaluation_config(KNOWING, data=None, architectures="nets:small,lenet", assignments=[])
    assert [(student.architecture, student.options) for student in config.evaluation.students] == [
        ("nets:small", {"width": 3}),
        ("lenet", {}),
    ]
    assert config.data.cache is None


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="'mlp,'"):
        evaluation_config(IMAGES, data="digits", architectures="mlp,", assignments=[])
