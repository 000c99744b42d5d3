"""The configuration of an evaluation asked for by hand: the run's own where the images know it, changed by what is asked."""

from __future__ import annotations

from collections.abc import Sequence

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig, StudentConfig
from hmdc_ray.config.io import apply_overrides, parse_config
from hmdc_ray.errors import InputError

DEFAULT_STUDENTS = ("convnet", "mlp", "lenet")


def evaluation_config(
    condensed: CondensedSet, *, data: str | None, architectures: str | None, assignments: Sequence[str]
) -> RunConfig:
    """The configuration to judge ``condensed`` by.

    Args:
        condensed: the images; their run's configuration, if they have one, gives data, students, seed and threads.
        data: source of real images; needed when the images do not name one.
        architectures: comma-separated names: students of the run's configuration, or architectures with default options.
        assignments: further ``section.field=value``.

    Raises:
        InputError: no data is known, or a value is not usable.
    """
    if condensed.config is not None:
        config = parse_config(condensed.config, "the condensed set's configuration")
        config = config.model_copy(update={"data": config.data.model_copy(update={"cache": None})})
    elif data is None:
        raise InputError(
            "the images do not say which data they are of: name it with --data (a Parquet file or folder, or 'digits')"
        )
    else:
        config = RunConfig()
    changes = [*assignments] if data is None else [f"data.source={data}", *assignments]
    config = apply_overrides(config, changes)
    if architectures is not None:
        names = [name.strip() for name in architectures.split(",")]
    elif condensed.config is None:
        names = list(DEFAULT_STUDENTS)
    else:
        names = [student.name for student in config.evaluation.students]
    if not all(names):
        raise InputError(f"--architectures is {architectures!r}: must be names with commas between them, such as convnet,mlp")
    students = tuple(_student(name, config, trusted=condensed.config is None) for name in names)
    evaluation = config.evaluation.model_dump() | {"students": [student.model_dump() for student in students]}
    return parse_config(config.model_dump() | {"evaluation": evaluation}, "--architectures")


def _student(name: str, config: RunConfig, trusted: bool) -> StudentConfig:
    """The student of this name or architecture, with the options that the configuration gives it.

    Raises:
        InputError: the images' own configuration names code to import, which must be named by the user.
    """
    for student in config.evaluation.students:
        if not trusted and student.name == name and student.architecture != name and ":" in student.architecture:
            raise InputError(
                f"the images ask to import the network {student.architecture!r}: if you trust it, name it with "
                f"--architectures {student.architecture}"
            )
        if name in (student.name, student.architecture):
            return student
    return StudentConfig(architecture=name)
