"""GPUs and threads of students on a cluster."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from hmdc_ray.actors import students
from hmdc_ray.actors.students import StudentResources, find_student_resources
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.call_size import GB


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, noise: CondensedSet, three_digits_config: DataConfig) -> Any:
    """Function that resolves an evaluation of one set on nodes of so many CPUs and GPUs."""

    def of(*nodes: tuple[float, float], **evaluation: Any) -> StudentResources:
        listed = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in nodes]
        monkeypatch.setattr(ray, "nodes", lambda: listed)
        wide = {"architecture": "mlp", "name": "wide", "options": {"width": 64}}
        settings = {"students": ["mlp", wide], "seeds": 2, "baselines": "random", **evaluation}
        config = parse_config({"data": three_digits_config.model_dump(), "evaluation": settings}, "test")
        return find_student_resources({"a": noise}, config)

    return of


def numbers(resources: StudentResources) -> tuple[Any, Any]:
    return resources.config.evaluation.num_gpus, resources.config.evaluation.threads


def test_on_cpus_students_have_the_cores_between_them(found: Any) -> None:
    """Two students, two seeds, condensed and random images: eight trainings, of which both seeds
    are one task."""
    few = found((2.0, 0.0))
    assert (
        numbers(few) == (0.0, 1)
        and few.line == "8 trainings in 4 groups on the CPU (there is no GPU), 2 at a time, 1 thread each"
    )
    many = found((16.0, 0.0), (16.0, 0.0))
    assert (
        numbers(many) == (0.0, 8)
        and many.line == "8 trainings in 4 groups on the CPU (there is no GPU), 4 at a time, 8 threads each"
    )
    asked = found((16.0, 0.0), threads=8, num_gpus=0)
    assert numbers(asked) == (0, 8) and asked.line == "8 trainings in 4 groups on the CPU, 2 at a time, 8 threads each"


def test_on_gpus_as_many_trainings_as_memory_allows(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def part(memory: float) -> None:
        def of(*_: Any) -> float:
            asked.append(1)
            together = max(1, int(0.8 * memory // (students.CONTEXT + 1.4 * GB)))
            return int(10_000 / together) / 10_000

        monkeypatch.setattr(students, "_part", of)

    part(80 * GB)
    large = found((16.0, 1.0))
    assert (
        numbers(large) == (0.0312, 4)
        and large.line == "8 trainings in 4 groups on 1 x GPU, 0.0312 each, 4 at a time, 4 threads each"
    )
    part(2 * GB)
    small = found((16.0, 2.0))
    assert (
        numbers(small) == (1.0, 8) and small.line == "8 trainings in 4 groups on 2 x GPU, 1 each, 2 at a time, 8 threads each"
    )
    assert len(asked) == 2
    by_hand = found((16.0, 2.0), num_gpus=0.5)
    assert numbers(by_hand) == (0.5, 4) and len(asked) == 2
    with pytest.raises(InputError, match=r"evaluation.num_gpus is 4, but no node has more than 2: use 0"):
        found((16.0, 2.0), (16.0, 1.0), num_gpus=4)


def test_gpus_that_torch_does_not_see_are_said(ray_local: None, noise: CondensedSet, three_digits_config: DataConfig) -> None:
    """The session's cluster counts three, of which there is none."""
    settings = {"students": ["mlp"], "seeds": 1, "baselines": "none"}
    config = parse_config({"data": three_digits_config.model_dump(), "evaluation": settings}, "test")
    resolved = find_student_resources({"a": noise}, config)
    assert numbers(resolved) == (0.0, 2)
    assert resolved.line == (
        "1 training on the CPU (the cluster counts GPUs, but CUDA is not available to a process there), 1 at a time, "
        "2 threads each"
    )


def test_the_largest_training_is_measured(noise: CondensedSet, three_digits_config: DataConfig) -> None:
    def bytes_of(*networks: Any) -> int:
        config = parse_config({"data": three_digits_config.model_dump(), "evaluation": {"students": networks}}, "test")
        return students._largest_training(noise, config)

    wide = {"architecture": "mlp", "name": "wide", "options": {"width": 512}}
    assert bytes_of("mlp") < bytes_of("mlp", wide) == bytes_of(wide)
