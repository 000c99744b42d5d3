"""The command ``evaluate``, and its step that a run shares: students trained on condensed images,
as Ray tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hmdc_ray.actors.evaluation import evaluate_on_ray
from hmdc_ray.actors.session import ray_session
from hmdc_ray.actors.students import find_student_resources
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import MemberConfig, RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.evaluation.earlier import Earlier
from hmdc_ray.evaluation.mnist import mnist_notes
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets, check_all_fit, named_sets
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.progress import Progress, Silent, load_dataset_info
from hmdc_ray.run.validate import validate_students
from hmdc_ray.system.signals import StopRequest, stop_on_signals


def evaluate(
    condensed: Sets,
    config: RunConfig,
    *,
    address: str | None = None,
    progress: Progress | None = None,
    earlier: Earlier | None = None,
) -> Evaluation:
    """Judge condensed images by students trained on them. One that fails does not end the others:
    :attr:`Evaluation.failed`.

    Args:
        condensed: one set, or several as a sequence or as a mapping from names: the first is
            compared with real images, and the others with the first.
            :func:`hmdc_ray.condensed.load_condensed` reads a set.
        config: configuration that gives the data, the evaluation, the seed and the threads.
        address: address of a Ray cluster; a local one is started if there is none.
        progress: receiver of the command's progress.
        earlier: an unfinished record of this evaluation; only what failed in it is repeated.

    Raises:
        InputError: configuration, data or images are not usable, or do not fit together; or
            ``earlier`` is another evaluation.
        RunError: a process died.
        Interrupted: SIGINT or SIGTERM came.
    """
    progress, config, sets = progress or Silent(), with_absolute_paths(config), named_sets(condensed)
    first = next(iter(sets.values()))
    with stop_on_signals() as stop:
        space = _checked(sets, config, progress, stop)
        with ray_session(address, progress.stage, stop.raise_if_requested):
            notes = mnist_notes(config.evaluation, first.normalisation, space)
            evaluation = evaluate_in_session(condensed, config, _pool_members(first), notes, progress, stop, earlier)
    progress.result(evaluation)
    return evaluation


def evaluate_in_session(
    condensed: Sets,
    config: RunConfig,
    pool: Collection[MemberConfig] | None,
    notes: Iterable[str],
    progress: Progress,
    stop: StopRequest,
    earlier: Earlier | None = None,
) -> Evaluation:
    """Train and test all students on the Ray that this process is connected to; see
    :func:`evaluate_on_ray`.

    Args:
        condensed: the images to judge.
        config: the data, the evaluation, the seed and the threads, with absolute paths.
        pool: members that the first set's images were learned with; None when unknown.
        notes: lines for the user about what was taken for granted.
        progress: receiver of the progress.
        stop: request to stop, looked at while waiting.
        earlier: an unfinished record of this evaluation; only what failed in it is repeated.
    """
    progress.stage("evaluating")
    for note in notes:
        progress.note(note)
    found = find_student_resources(named_sets(condensed), config)
    if config.evaluation.students:
        progress.resources(found.line)
    return evaluate_on_ray(
        condensed, found.config, pool=pool, progress=progress.trial, check=stop.raise_if_requested, earlier=earlier
    )


def _checked(sets: Mapping[str, CondensedSet], config: RunConfig, progress: Progress, stop: StopRequest) -> Normalisation:
    """Check sets and students against the data; returns the normalisation of the data."""
    info = load_dataset_info(config, progress, stop, normalises=False)  # images are normalised by the sets' own statistics
    check_all_fit(sets, info)
    validate_students(config, info)
    return info.normalisation


def _pool_members(condensed: CondensedSet) -> tuple[MemberConfig, ...] | None:
    members = (condensed.config or {}).get("pool", {}).get("members")
    if not members:
        return None
    return parse_config({"pool": {"members": members}}, "the condensed set's configuration").pool.members
