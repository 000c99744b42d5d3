"""One rule for how GPUs multiply: that of the pool's members, for students too, and on record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hmdc_ray.config import Precision, RunConfig
from hmdc_ray.evaluation.device import student_device, student_format

PLACES = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]  # missing in torch's types


def made(precision: Precision, num_gpus: float, **data: str) -> RunConfig:
    return RunConfig.model_validate(
        {"data": data, "matching": {"precision": precision}, "evaluation": {"num_gpus": num_gpus, "students": ["mlp"]}}
    )


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that finds a GPU; nothing is computed there. Formats are put back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = [place.fp32_precision for place in PLACES]
    yield
    for place, name in zip(PLACES, before, strict=True):
        place.fp32_precision = name


@pytest.mark.parametrize(
    ("precision", "name"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee"), ("float64", "ieee")]
)
def test_students_on_gpus_multiply_as_members_do(precision: Precision, name: str, with_gpu: None) -> None:
    config = made(precision, 0.5)
    assert student_device(config) == "cuda"
    assert [place.fp32_precision for place in PLACES] == [name, name]
    assert student_format(config) == name


def test_on_cpus_nothing_is_set(with_gpu: None) -> None:
    before = [place.fp32_precision for place in PLACES]
    assert student_device(made("tf32", 0)) == "cpu"
    assert [place.fp32_precision for place in PLACES] == before
    assert student_format(made("tf32", 0)) is None
