from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig, EvaluationConfig, StudentConfig
from hmdc_ray.config.statistics import KNOWN
from hmdc_ray.data.dataset import ImageDataset, open_dataset
from hmdc_ray.errors import DivergedError, InputError, RunError
from hmdc_ray.evaluation.baselines import baseline_rows
from hmdc_ray.evaluation.plan import plan, run_trial, run_trials, train_teacher
from hmdc_ray.evaluation.sets import check_fit
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import import_set

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MLP = StudentConfig(architecture="mlp")
CONFIG = EvaluationConfig(students=(MLP,), epochs=40)


def test_plan_has_every_student_kind_and_seed_once() -> None:
    config = EvaluationConfig(students=("mlp", "lenet"), seeds=2, baselines="random")

    trials = plan(config)

    assert [(t.student.name, t.member_index, t.kind, t.seed_index) for t in trials] == [
        (name, index, kind, seed)
        for index, name in enumerate(("mlp", "lenet"))
        for kind in ("condensed", "random")
        for seed in range(2)
    ]


@pytest.mark.parametrize(
    ("baselines", "kinds"),
    [
        ("none", {"condensed"}),
        ("kmeans", {"condensed", "kmeans"}),
        ("both", {"condensed", "random", "kmeans"}),
    ],
)
def test_plan_has_the_wanted_baselines(baselines: str, kinds: set[str]) -> None:
    assert {trial.kind for trial in plan(EvaluationConfig.model_validate({"baselines": baselines}))} == kinds


def test_count_fair_baselines_are_extra_only_where_images_are_packed() -> None:
    config = EvaluationConfig.model_validate({"whole_data_epochs": 3})

    def kinds(config: EvaluationConfig, formation: int) -> list[str]:
        return [trial.kind for trial in plan(config, formation=formation) if trial.seed_index == 0]

    assert kinds(config, 1) == ["condensed", "random", "kmeans", "whole_data"]
    assert kinds(config, 2) == ["condensed", "random", "kmeans", "random_count", "kmeans_count", "whole_data"]
    assert kinds(config.model_copy(update={"count_fair": False}), 2) == kinds(config, 1)
    assert kinds(config.model_copy(update={"baselines": "kmeans"}), 2) == ["condensed", "kmeans", "kmeans_count", "whole_data"]


def test_several_sets_have_condensed_trials_only() -> None:
    config = EvaluationConfig.model_validate({"baselines": "random", "seeds": 2, "augmentation_robust": True})

    trials = [(trial.kind, trial.set_index, trial.switched) for trial in plan(config, sets=3) if trial.seed_index == 1]

    assert trials == [
        ("condensed", 0, False),
        ("condensed", 1, False),
        ("condensed", 2, False),
        ("random", 0, False),
        ("condensed", 0, True),
        ("random", 0, True),
    ]


def test_a_taught_student_learns_more_than_labels(digits: ImageDataset, digit_means: CondensedSet) -> None:
    config = EvaluationConfig.model_validate(
        {"epochs": 5, "students": ["mlp"], "distillation": {"teacher": {"architecture": "mlp", "options": {"width": 64}}}}
    )
    trainer = StudentTrainer(digit_means, digits, config, 0)
    taught = Trial("condensed", MLP, 0, 0, temperature=1.5)
    state = train_teacher(taught, trainer)

    alone = run_trial(replace(taught, temperature=None), trainer)
    results = [run_trial(taught, trainer, teacher=given) for given in (None, state)]

    assert results[0] == results[1] != alone
    # The teacher that is given counts.
    assert config.distillation is not None
    with_labels = replace(taught, student=config.distillation.teacher)
    blank = {name: torch.zeros_like(value) for name, value in state.items()}
    assert run_trial(with_labels, trainer, teacher=blank) != results[0]


def test_the_whole_split_is_the_upper_bound(digits: ImageDataset, digit_means: CondensedSet) -> None:
    config = EvaluationConfig(students=(MLP,), epochs=40, whole_data_epochs=30)
    assert run_trial(Trial("whole_data", MLP, 0, 0), StudentTrainer(digit_means, digits, config, 0)) > 0.85


def test_class_means_teach_better_than_random_images_and_trials_repeat(digits: ImageDataset, digit_means: CondensedSet) -> None:
    threads = torch.get_num_threads()
    condensed, again, random = (
        run_trial(Trial(kind, MLP, 0, 0), StudentTrainer(digit_means, digits, CONFIG, 0))
        for kind in ("condensed", "condensed", "random")
    )

    assert condensed == again
    assert condensed > 0.75 and condensed > random > 0.3
    assert torch.get_num_threads() == threads


def test_rows_given_are_the_rows_used(digits: ImageDataset, digit_means: CondensedSet) -> None:
    trial = Trial("random", MLP, 1, 0)
    rows = baseline_rows("random", 1, digit_means, digits, 7)
    one_class = digits.class_rows("train", 3)[:10]

    trainer = StudentTrainer(digit_means, digits, CONFIG, 7)
    results = [run_trial(trial, trainer, rows=given) for given in (None, rows, one_class)]

    assert results[0] == results[1]
    assert results[2] == pytest.approx(np.mean(digits.labels("test") == 3), abs=0.02)


def test_students_of_a_group_have_the_accuracies_that_they_have_alone(digits: ImageDataset, digit_means: CondensedSet) -> None:
    trials = [Trial(kind, MLP, seed, 0) for kind in ("condensed", "random") for seed in (0, 1)]
    trainer = StudentTrainer(digit_means, digits, CONFIG, 7)
    rows = [None, None, baseline_rows("random", 0, digit_means, digits, 7), None]
    threads = torch.get_num_threads()

    found = run_trials(trials, trainer, rows)

    assert found == pytest.approx([run_trial(trial, trainer) for trial in trials], abs=0.005)
    assert len(set(found)) == 4 and torch.get_num_threads() == threads


def test_a_student_of_a_group_that_diverges_is_told_as_alone(digits: ImageDataset, digit_means: CondensedSet) -> None:
    trials = [Trial("condensed", MLP, 0, 0), Trial("random", MLP, 0, 0)]
    huge = replace(digit_means, images=digit_means.images * 1e30)
    trainer = StudentTrainer(huge, digits, CONFIG, 7)
    with pytest.raises(RunError) as told:
        run_trial(trials[0], trainer)
    diverged, accuracy = run_trials(trials, trainer, [None, None])
    assert isinstance(diverged, DivergedError) and str(diverged) == str(told.value)
    assert accuracy == pytest.approx(run_trial(trials[1], trainer), abs=0.005)


def test_the_configured_split_is_tested(digits: ImageDataset, digit_means: CondensedSet) -> None:
    validation = CONFIG.model_copy(update={"split": "validation"})
    results = [
        run_trial(Trial("condensed", MLP, 0, 0), StudentTrainer(digit_means, digits, config, 0))
        for config in (CONFIG, validation)
    ]

    sizes = [digits.info.sizes["test"], digits.info.sizes["validation"]]
    assert results[0] != results[1]
    assert all(result * size == pytest.approx(round(result * size)) for result, size in zip(results, sizes, strict=True))


def test_data_that_do_not_fit_are_refused(digits: ImageDataset, digit_means: CondensedSet) -> None:
    names = digits.info.class_names
    broken = [
        (replace(digit_means, class_names=(*names, "10")), "has 10 classes, but the condensed images have 11"),
        (
            replace(digit_means, class_names=(*names[:-2], names[-1], names[-2])),
            "class 8 is '8', but of the condensed images it is '9'",
        ),
        (replace(digit_means, images=torch.zeros(10, 1, 8, 16)), "1 channel and 16x16 pixels, .* 1 channel and 8x16 pixels"),
        (
            replace(digit_means, images=torch.zeros(10, 3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3),
            "1 channel and 16x16 pixels, .* 3 channels and 16x16 pixels",
        ),
    ]
    for condensed, message in broken:
        with pytest.raises(InputError, match=message):
            check_fit(condensed, digits.info)
        with pytest.raises(InputError, match=message):
            run_trial(Trial("condensed", MLP, 0, 0), StudentTrainer(condensed, digits, CONFIG, 0))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder with published condensed sets is absent")
def test_published_set_gives_the_published_accuracy(tmp_path: Path) -> None:
    condensed = import_set(
        SHARED / "peers/res_DC_MNIST_ConvNet_1ipc.pt", "dc", ImportOptions(statistics=KNOWN["mnist"], snapshot=0)
    ).condensed
    dataset = open_dataset(DataConfig(source=str(SHARED / "data/mnist/test-00000-of-00001.parquet"), cache=str(tmp_path)))

    result = run_trial(
        Trial("condensed", MLP, 0, 0), StudentTrainer(condensed, dataset, EvaluationConfig(augmentation=True), 0)
    )

    # Published for MLP: 70.1 %, on the whole test split; here a fifth of it.
    assert result == pytest.approx(0.70, abs=0.06)
