"""The configuration of ``hmdc evaluate``: the run's own where the images carry it, changed by the
options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import NetworkSection, RunConfig, StudentConfig
from hmdc_ray.config.io import CONDENSED_FILE, EVALUATION_FILE, apply_overrides, parse_config
from hmdc_ray.errors import InputError
from hmdc_ray.models.external import LIBRARIES

DEFAULT_STUDENTS = ("convnet", "mlp", "lenet")

_TEACHER = "evaluation.distillation.teacher.architecture"


def evaluation_config(
    condensed: CondensedSet,
    *,
    data: str | None,
    architectures: str | None,
    assignments: Sequence[str],
    distill: bool = False,
    temperatures: str | None = None,
) -> RunConfig:
    """The configuration to judge ``condensed`` by.

    Args:
        condensed: condensed images; the configuration that they carry, if any, gives data,
            students, seed and threads.
        data: source of real images; needed when the images do not name one.
        architectures: comma-separated names: students of the run's configuration, or architectures
            with default options.
        assignments: further settings as ``section.field=value``.
        distill: whether students learn from a teacher too, by default a ConvNet.
        temperatures: comma-separated softmax temperatures of the distillation; they imply
            ``distill``.

    Raises:
        InputError: no data is named, or a value is not usable.
    """
    if condensed.config is not None:
        config = parse_config(condensed.config, "the condensed set's configuration")
        config = config.model_copy(update={"data": config.data.model_copy(update={"cache": None})})
        _require_trusted_teacher(config, assignments)
    elif data is None:
        raise InputError(
            "the images do not say which data they are of: name it with --data (a Parquet file or folder, or 'digits')"
        )
    else:
        config = RunConfig()
    changes = [] if data is None else [f"data.source={data}"]
    if (distill or temperatures is not None) and config.evaluation.distillation is None:
        changes.append("evaluation.distillation={}")
    if temperatures is not None:
        changes.append(f"evaluation.distillation.temperatures=[{temperatures}]")
    config = apply_overrides(config, [*changes, *assignments])
    if architectures is not None:
        names = split_names(architectures)
    elif condensed.config is None:
        names = list(DEFAULT_STUDENTS)
    else:
        names = [student.name for student in config.evaluation.students]
    students = tuple(_student(name, config, trusted=condensed.config is None) for name in names)
    evaluation = config.evaluation.model_dump() | {"students": [student.model_dump() for student in students]}
    return parse_config(config.model_dump() | {"evaluation": evaluation}, "--architectures")


def split_names(architectures: str) -> list[str]:
    """The names that ``--architectures`` gives.

    Raises:
        InputError: a name is empty.
    """
    names = [name.strip() for name in architectures.split(",")]
    if not all(names):
        raise InputError(f"--architectures is {architectures!r}: must be names with commas between them, such as convnet,mlp")
    return names


def set_names(paths: Sequence[Path]) -> list[str]:
    """Names of condensed sets by their paths: the run's folder or the file's own name, or whole
    paths where those repeat.

    Raises:
        InputError: a path is given twice.
    """
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise InputError(f"{path} is given twice: give different condensed sets")
    names = [path.stem if path.suffix and path.name != CONDENSED_FILE else _folder(path).name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def evaluation_file(paths: Sequence[Path]) -> Path:
    """The file in which a run keeps the evaluation of its own images.

    Raises:
        InputError: these are not the images of one run.
    """
    if len(paths) == 1 and (not paths[0].suffix or paths[0].name == CONDENSED_FILE):
        return _folder(paths[0]) / EVALUATION_FILE
    raise InputError("--failed is for the folder of a run, or for the file that --output names: give --output FILE.json")


def repetition(config: RunConfig, images: Path) -> list[str]:
    """Arguments of ``hmdc`` that train a run's failed students again; they name, and so trust, its
    own networks."""
    words = ["evaluate", str(images), "--failed"]
    if any(map(_is_code, config.evaluation.students)):
        names = (each.architecture if _is_code(each) else each.name for each in config.evaluation.students)
        words += ["--architectures", ",".join(names)]
    distillation = config.evaluation.distillation
    if distillation is not None and _is_code(distillation.teacher):
        words += ["--set", f"{_TEACHER}={distillation.teacher.architecture}"]
    return words


def _folder(path: Path) -> Path:
    return (path.parent if path.name == CONDENSED_FILE else path).absolute()


def _student(name: str, config: RunConfig, trusted: bool) -> StudentConfig:
    """The student of this name or architecture, with the options that the configuration gives it.

    Raises:
        InputError: the images' own configuration names code to import, which must be named by the
            user.
    """
    for student in config.evaluation.students:
        if not trusted and student.name == name and student.architecture != name and _is_code(student):
            raise InputError(
                f"the images ask to import the network {student.architecture!r}: if you trust it, name it with "
                f"--architectures {student.architecture}"
            )
        if name in (student.name, student.architecture):
            return student
    return StudentConfig(architecture=name)


def _require_trusted_teacher(config: RunConfig, assignments: Sequence[str]) -> None:
    """Refuse a teacher that the images' configuration would import, unless the user names it in an
    assignment."""
    distillation, field = config.evaluation.distillation, _TEACHER
    if distillation is None or not _is_code(distillation.teacher):
        return
    named = [assignment.partition("=")[0].strip() for assignment in assignments]
    if not any(field == name or field.startswith(f"{name}.") for name in named):
        raise InputError(
            f"the images ask to import the teacher {distillation.teacher.architecture!r}: if you trust it, name it with "
            f"--set {field}={distillation.teacher.architecture}"
        )


def _is_code(network: NetworkSection) -> bool:
    """Whether the network is code to import, and not a library's."""
    prefix, colon, _ = network.architecture.partition(":")
    return bool(colon) and prefix not in LIBRARIES
