from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import InProcess
from torch import Tensor, nn

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, EvaluationConfig, MemberConfig, RunConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.evaluation import images
from hmdc_ray.evaluation import plan as plan_module
from hmdc_ray.evaluation.conduct import conduct
from hmdc_ray.evaluation.earlier import Earlier
from hmdc_ray.evaluation.images import Kind
from hmdc_ray.evaluation.plan import plan
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets, named_sets
from hmdc_ray.evaluation.summarise import summarise
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.models import ImageShape

SetFactory = Callable[..., CondensedSet]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return open_dataset(DataConfig(source="digits", cache=str(tmp_path_factory.mktemp("cache"))))


@pytest.fixture(scope="session")
def digit_means(digits: ImageDataset) -> CondensedSet:
    """The mean image of every class: a condensed set that teaches well."""
    means = [digits.normalised("train", digits.class_rows("train", label)).mean(dim=0) for label in range(10)]
    info = digits.info
    return CondensedSet(torch.stack(means), torch.arange(10), info.class_names, info.mean, info.std)


RESULTS: dict[Kind, float] = {
    "condensed": 0.6,
    "random": 0.5,
    "kmeans": 0.55,
    "random_count": 0.7,
    "kmeans_count": 0.75,
    "whole_data": 0.9,
}


def accuracy(trial: Trial) -> float:
    """10 points more for every further set, 3 with the switched recipe, 1 for every seed; 20 less
    for the second student."""
    value = RESULTS[trial.kind] + 0.1 * trial.set_index + 0.03 * trial.switched
    return value + 0.01 * trial.seed_index * (1 + trial.set_index) - 0.2 * trial.member_index


def evaluation(
    digits: ImageDataset, condensed: Sets, *, pool: Sequence[MemberConfig] | None = None, **fields: Any
) -> Evaluation:
    config = EvaluationConfig.model_validate({"students": ["mlp", "lenet"], **fields})
    sets = named_sets(condensed)
    trials = plan(config, formation=next(iter(sets.values())).formation, sets=len(sets))
    if config.distillation is not None:
        trials = [trial if trial.kind == "whole_data" else replace(trial, temperature=4.0) for trial in trials]
    results = [accuracy(trial) for trial in trials]
    return summarise(config, trials, results, condensed=condensed, info=digits.info, run_seed=4, pool=pool, gpu_format=None)


BROKEN: list[BaseException] = []
"""What the user's network raises in training, if anything."""


def own(shape: ImageShape, classes: int) -> nn.Module:
    class Own(nn.Module):
        def forward(self, vectors_BD: Tensor) -> Tensor:
            if self.training and BROKEN:
                raise BROKEN[0]
            return vectors_BD

    return nn.Sequential(nn.Flatten(), Own(), nn.Linear(shape.channels * shape.height * shape.width, classes))


OWN = {"name": "own", "architecture": f"{__name__}:own"}


@pytest.fixture
def broken() -> Iterator[list[BaseException]]:
    BROKEN.append(ValueError("weights have gone\nastray"))
    yield BROKEN
    BROKEN.clear()


def written(evaluation: Evaluation, path: Path) -> Earlier:
    evaluation.write(path)
    return Earlier.read(path)


class Judge:
    """Evaluates in this process, and notes what was trained and tested.

    Attributes:
        fields: section ``evaluation`` where a call does not say otherwise.
        trained: every training, of which those of teachers have the kind ``teacher KIND``.
        told: the progress.
        tested: how many students were tested on each split.
    """

    def __init__(self, data: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._data = data.model_copy(update={"cache": str(cache)})
        self.fields: dict[str, Any] = {"students": ["mlp"], "seeds": 2, "epochs": 2}
        self.trained: list[Trial] = []
        self.told: list[str] = []
        self.tested: Counter[str] = Counter()
        train, together, batches = StudentTrainer.train, StudentTrainer.train_together, images.split_batches

        def noted(room: StudentTrainer, network: Any, trial: Trial, *others: Any, **more: Any) -> None:
            self.trained.append(replace(trial, kind=f"teacher {trial.kind}") if more.get("role") else trial)  # type: ignore[arg-type]
            train(room, network, trial, *others, **more)

        def noted_together(room: StudentTrainer, networks: Any, trials: Sequence[Trial], rows: Any) -> Any:
            self.trained.extend(trials)
            return together(room, networks, trials, rows)

        def tested(dataset: ImageDataset, split: Any, *others: Any) -> Iterator[Any]:
            self.tested[split] += 1
            yield from batches(dataset, split, *others)

        monkeypatch.setattr(StudentTrainer, "train", noted)
        monkeypatch.setattr(StudentTrainer, "train_together", noted_together)
        monkeypatch.setattr(plan_module, "split_batches", tested)

    def config(self, **fields: Any) -> RunConfig:
        run = {key: fields.pop(key) for key in ("seed", "cluster") if key in fields}
        return RunConfig.model_validate({"data": self._data.model_dump(), "evaluation": self.fields | fields, **run})

    def __call__(self, condensed: Sets, earlier: Earlier | None = None, **fields: Any) -> Evaluation:
        self.trained.clear()
        self.told.clear()
        self.tested.clear()
        config = self.config(**fields)

        def progress(done: int, total: int) -> None:
            assert done == len(self.told)
            self.told.append(f"{done}/{total}")

        made = conduct(condensed, config, pool=None, executor=InProcess(), progress=progress, earlier=earlier)
        done, total = self.told[-1].split("/")
        assert done == total
        return made

    @property
    def kinds(self) -> dict[str, int]:
        """How many networks were trained on each kind of images."""
        return dict(Counter(str(each.kind) for each in self.trained))


@pytest.fixture
def judge(three_digits_config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    return Judge(three_digits_config, tmp_path / "cache", monkeypatch)
