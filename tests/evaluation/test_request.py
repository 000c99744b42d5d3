from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DistillationConfig, RunConfig
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.request import evaluation_config, set_names

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


def test_a_teacher_is_added_or_given_temperatures() -> None:
    def made(condensed: CondensedSet, **wanted: Any) -> DistillationConfig | None:
        assignments = wanted.pop("assignments", [])
        arguments = {"data": "digits", "architectures": "mlp", "assignments": assignments}
        return evaluation_config(condensed, **arguments, **wanted).evaluation.distillation

    assert made(IMAGES) is None
    assert made(IMAGES, distill=True) == DistillationConfig()
    assert made(IMAGES, temperatures="1, 1.5,4") == DistillationConfig(temperatures=(1, 1.5, 4))
    own = DistillationConfig(alpha=0.7, temperatures=(2,))
    config = OWN.model_copy(update={"evaluation": OWN.evaluation.model_copy(update={"distillation": own})})
    knowing = replace(IMAGES, config=config.model_dump(mode="json"))
    assert made(knowing) == made(knowing, distill=True) == own
    assert made(knowing, temperatures="3") == DistillationConfig(alpha=0.7, temperatures=(3,))
    assert made(IMAGES, distill=True, assignments=["evaluation.distillation.alpha=0.9"]) == DistillationConfig(alpha=0.9)
    with pytest.raises(InputError, match=r"evaluation\.distillation\.temperatures\.1 is -1"):
        made(IMAGES, temperatures="1,-1")


def test_a_teacher_that_only_the_images_name_is_not_imported() -> None:
    taught = {"distillation": {"teacher": "nets:small"}, "students": ["mlp"]}
    config = RunConfig.model_validate({"evaluation": taught}).model_dump(mode="json")
    condensed = replace(IMAGES, config=config)
    field = "evaluation.distillation.teacher.architecture=nets:small"
    with pytest.raises(InputError, match=rf"teacher 'nets:small'.*--set {field}"):
        evaluation_config(condensed, data=None, architectures=None, assignments=[])
    assert evaluation_config(condensed, data=None, architectures=None, assignments=[field]).evaluation.distillation is not None


def test_networks_of_a_library_are_no_import_paths() -> None:
    config = RunConfig.model_validate({"evaluation": {"students": ["timm:resnet18", "torchvision:resnet34"]}})
    made = evaluation_config(
        replace(IMAGES, config=config.model_dump(mode="json")), data=None, architectures=None, assignments=[]
    )
    assert [student.name for student in made.evaluation.students] == ["resnet18", "resnet34"]


def test_sets_are_called_after_where_they_lie() -> None:
    assert set_names([Path("runs/a"), Path("runs/b/condensed.parquet"), Path("old/c.parquet")]) == ["a", "b", "c"]
    assert set_names([Path("x/a"), Path("y/a")]) == ["x/a", "y/a"]
    with pytest.raises(InputError, match="x/a is given twice"):
        set_names([Path("x/a"), Path("x/a")])
