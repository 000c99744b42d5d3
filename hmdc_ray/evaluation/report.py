"""The result of an evaluation, as it is kept in ``evaluation.json``."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, Options, StudentConfig
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.plan import Kind, Trial
from hmdc_ray.evaluation.protocol import recipe
from hmdc_ray.evaluation.statistics import Summary, summarise_values
from hmdc_ray.files import atomic_path

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One student's accuracies.

    Attributes:
        architecture: the student's name: that of its architecture unless the configuration gives another.
        in_pool: whether its architecture took part in the condensation; None when that is unknown.
        condensed: on the condensed images.
        random: on random real images; None where left out.
        kmeans: on k-means real images; None where left out.
        options: of the architecture.
    """

    architecture: str
    in_pool: bool | None
    condensed: Summary
    random: Summary | None
    kmeans: Summary | None
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that ``evaluation.json`` holds, under the same names; accuracies are fractions in [0, 1].

    Attributes:
        rows: one per student, in the order of the configuration.
        protocol: name of the training recipe.
        split: of the data, on which accuracy was measured.
        epochs: E of the recipe, which trains E + 1.
        augmentation: whether training images were varied.
        seeds: students per architecture and kind of images.
        run_seed: from which all draws are derived.
        ipc: stored images per class, of all three kinds.
        formation: training images in a condensed one are formation squared.
        mean: per channel, that all images were normalised with.
        std: likewise.
        data_source: the data tested on.
        data_fingerprint: of the data tested on.
        condensed_fingerprint: of the data that the images were learned from; None when unknown.
        version: of this package.
        schema_version: of this layout; keys may be added without a new one.
    """

    rows: tuple[Row, ...]
    protocol: str
    split: str
    epochs: int
    augmentation: bool
    seeds: int
    run_seed: int
    ipc: int
    formation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_source: str
    data_fingerprint: str
    condensed_fingerprint: str | None
    version: str
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")


def summarise(
    config: EvaluationConfig,
    trials: Sequence[Trial],
    results: Sequence[float],
    *,
    condensed: CondensedSet,
    info: DatasetInfo,
    run_seed: int,
    pool: Collection[str] | None,
) -> Evaluation:
    """Gather the trials' accuracies into an evaluation.

    Args:
        config: that the trials were planned from.
        trials: all of them, as planned.
        results: accuracy of each trial, in the same order, whatever the order in which they ended.
        condensed: the images that were judged.
        info: of the data that they were tested on.
        run_seed: that the trials ran with.
        pool: the architectures that the images were learned with; None when unknown. Options do not count: a student whose
            architecture is in the pool with another width is in the pool.
    """
    values: dict[tuple[int, Kind], list[float]] = {}
    for trial, result in zip(trials, results, strict=True):
        values.setdefault((trial.member_index, trial.kind), []).append(result)
    summaries = {place: summarise_values(accuracies) for place, accuracies in values.items()}
    used = recipe(config)
    return Evaluation(
        rows=tuple(_row(student, index, summaries, pool) for index, student in enumerate(config.students)),
        protocol=config.protocol,
        split=config.split,
        epochs=used.epochs,
        augmentation=used.augmentation,
        seeds=config.seeds,
        run_seed=run_seed,
        ipc=condensed.ipc,
        formation=condensed.formation,
        mean=condensed.mean,
        std=condensed.std,
        data_source=info.source,
        data_fingerprint=info.fingerprint,
        condensed_fingerprint=condensed.fingerprint,
        version=version("hmdc-ray"),
    )


def _row(student: StudentConfig, index: int, summaries: dict[tuple[int, Kind], Summary], pool: Collection[str] | None) -> Row:
    return Row(
        architecture=student.name,
        in_pool=None if pool is None else student.architecture in pool,
        condensed=summaries[index, "condensed"],
        random=summaries.get((index, "random")),
        kmeans=summaries.get((index, "kmeans")),
        options=student.options,
    )
