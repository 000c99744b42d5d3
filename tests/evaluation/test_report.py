import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hmdc_ray.cli.evaluation_table import tables
from hmdc_ray.cli.tables import print_table
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig, MemberConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.images import Kind
from hmdc_ray.evaluation.plan import plan
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.evaluation.sets import Sets, named_sets
from hmdc_ray.evaluation.summarise import summarise
from hmdc_ray.evaluation.trial import Trial

RESULTS: dict[Kind, float] = {
    "condensed": 0.6,
    "random": 0.5,
    "kmeans": 0.55,
    "random_count": 0.7,
    "kmeans_count": 0.75,
    "whole_data": 0.9,
}


def accuracy(trial: Trial) -> float:
    """10 points more for every further set, 3 with the switched recipe, 1 for every seed; 20 less for the second student."""
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


def test_rows_gather_each_students_seeds(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, digit_means, pool=[MemberConfig(architecture="mlp")])

    assert [(row.architecture, row.in_pool) for row in made.rows] == [("mlp", True), ("lenet", False)]
    assert made.rows[0].condensed is not None and made.rows[0].condensed.values == pytest.approx((0.60, 0.61, 0.62))
    assert made.rows[1].kmeans is not None and made.rows[1].kmeans.values == pytest.approx((0.35, 0.36, 0.37))


def test_unpacked_sets_have_one_kind_of_fair(digits: ImageDataset, digit_means: CondensedSet) -> None:
    for row in evaluation(digits, digit_means).rows:
        assert row.random_count is row.random is not None and row.kmeans_count is row.kmeans is not None
    for row in evaluation(digits, digit_means, count_fair=False).rows:
        assert row.random is not None and row.random_count is row.kmeans_count is None


def test_packed_sets_have_both(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, replace(digit_means, formation=2))
    assert [round(row.random_count.mean, 6) for row in made.rows if row.random_count] == [0.71, 0.51]
    assert [round(row.kmeans_count.mean, 6) for row in made.rows if row.kmeans_count] == [0.76, 0.56]
    text = shown(made)
    assert "random ×4" in text and "k-means ×4" in text and "76.0 ± 2.5" in text


def test_scores_are_those_of_dd_ranking(digits: ImageDataset, digit_means: CondensedSet) -> None:
    def normalised(value: float) -> float:
        return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))

    made = evaluation(digits, digit_means, whole_data_epochs=3, augmentation_robust=True)
    row = made.rows[0]
    assert row.whole_data is not None and row.whole_data.mean == pytest.approx(0.91)
    assert row.label_robust_score == pytest.approx(normalised(0.5 * 0.1 - 0.5 * 0.3))
    assert row.condensed_switched is not None and row.condensed_switched.mean == pytest.approx(0.64)
    assert row.augmentation_robust_score == pytest.approx(normalised(0.5 * 0.1 + 0.5 * 0.1))
    assert "whole data" in shown(made)
    plain = evaluation(digits, digit_means).rows[0]
    assert (plain.whole_data, plain.random_switched) == (None, None)
    assert (plain.label_robust_score, plain.augmentation_robust_score) == (None, None)
    alone = evaluation(digits, digit_means, whole_data_epochs=3, baselines="none").rows[0]
    assert alone.whole_data is not None and alone.label_robust_score is None


def test_a_robust_score_knows_which_recipe_is_plain() -> None:
    combinations: list[dict[str, Any]] = [{"baselines": "kmeans"}, {"baselines": "none"}, {"distillation": {}}]
    for wrong in combinations:
        with pytest.raises(ValueError, match="augmentation_robust"):
            EvaluationConfig.model_validate({"augmentation_robust": True, **wrong})


def test_temperatures_are_reported(digits: ImageDataset, digit_means: CondensedSet) -> None:
    taught: dict[str, Any] = {"distillation": {"temperatures": [1.5, 4]}, "baselines": "random", "whole_data_epochs": 3}
    made = evaluation(digits, {"a": digit_means, "b": digit_means}, **taught)
    assert [row.temperatures for row in made.rows] == [{"condensed": 4.0, "random": 4.0}] * 2
    assert [entry.temperatures for entry in made.sets] == [{"mlp": 4.0, "lenet": 4.0}] * 2
    assert made.rows[0].whole_data is not None and made.rows[0].label_robust_score is None
    assert made.distillation is not None and made.distillation["alpha"] == 0.5
    assert evaluation(digits, digit_means).rows[0].temperatures is None


def test_sets_are_compared_with_the_first(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> None:
    other = replace(digit_means, images=digit_means.images + 1)
    made = evaluation(digits, {"a": digit_means, "b": other, "c": digit_means})

    assert [entry.name for entry in made.sets] == ["a", "b", "c"]
    fingerprints = [entry.fingerprint for entry in made.sets]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    assert made.rows[0].condensed == made.sets[0].summaries["mlp"]
    lenet = made.sets[1].summaries["lenet"]
    assert lenet is not None and lenet.values == pytest.approx((0.5, 0.52, 0.54))
    assert [(each.first, each.second) for each in made.comparison] == [("a", "b"), ("a", "c")]
    first = made.comparison[0].architectures[0]
    assert (first.architecture, first.significant) == ("mlp", True)
    assert first.difference == pytest.approx(0.11)
    made.write(tmp_path / "evaluation.json")
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["comparison"][0]["architectures"][0]["difference"] == first.difference
    assert set(content["sets"][0]["summaries"]) == {"mlp", "lenet"}
    text = shown(made)
    assert "b against a" in text and "+11.0" in text and "yes" in text
    (heading,) = (line for line in text.splitlines() if "architecture" in line and "gain" in line)
    assert [cell.strip() for cell in heading.split("┃")[1:-1]] == [
        "architecture",
        "in pool",
        "random",
        "k-means",
        "a",
        "b",
        "c",
        "gain",
    ]


def test_one_seed_compares_nothing(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, [digit_means, digit_means], seeds=1)
    assert [entry.name for entry in made.sets] == ["condensed 1", "condensed 2"]
    assert made.comparison == ()


def test_file_has_the_fixed_names(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> None:
    path = tmp_path / "new" / "evaluation.json"

    evaluation(digits, replace(digit_means, fingerprint="abc"), baselines="random").write(path)

    content = json.loads(path.read_text())
    assert content["schema_version"] == 1
    assert (content["protocol"], content["split"], content["epochs"], content["seeds"]) == ("dc", "test", 300, 3)
    assert (content["ipc"], content["formation"], content["run_seed"]) == (1, 1, 4)
    assert content["data_fingerprint"] == digits.info.fingerprint and content["condensed_fingerprint"] == "abc"
    assert content["mean"] == list(digit_means.mean)
    row = content["rows"][0]
    assert (row["architecture"], row["in_pool"], row["kmeans"]) == ("mlp", None, None)
    assert set(row["condensed"]) == set(row["random"]) == {"mean", "std", "low", "high", "values"}
    assert row["random"]["mean"] == pytest.approx(0.51)
    assert row["random"]["low"] < row["random"]["mean"] < row["random"]["high"]
    assert [file.name for file in path.parent.iterdir()] == ["evaluation.json"]


def test_a_failed_write_keeps_the_old_file(digits: ImageDataset, digit_means: CondensedSet, tmp_path: Path) -> None:
    blocked = tmp_path / "evaluation.json"
    blocked.mkdir()

    with pytest.raises(InputError, match=r"evaluation\.json cannot be written: "):
        evaluation(digits, digit_means).write(blocked)

    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]


def shown(made: Evaluation) -> str:
    console = Console(file=io.StringIO(), width=120)
    for table in tables(made):
        print_table(console, table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_shows_means_intervals_and_gain(digits: ImageDataset, digit_means: CondensedSet) -> None:
    text = shown(evaluation(digits, digit_means, pool=[MemberConfig(architecture="mlp")]))

    first, second, mean = (line for line in text.splitlines() if any(name in line for name in ("mlp", "lenet", "│ mean")))
    assert [cell.strip() for cell in first.split("│")[1:-1]] == [
        "mlp",
        "yes",
        "51.0 ± 2.5",
        "56.0 ± 2.5",
        "61.0 ± 2.5",
        "+10.0",
    ]
    assert [cell.strip() for cell in second.split("│")[1:3]] == ["lenet", "no"]
    assert [cell.strip() for cell in mean.split("│")[1:-1]] == ["mean", "", "41.0", "46.0", "51.0", "+10.0"]


def test_table_of_one_seed_without_baselines(digits: ImageDataset, digit_means: CondensedSet) -> None:
    text = shown(evaluation(digits, digit_means, baselines="none", seeds=1))

    (row,) = (line for line in text.splitlines() if "mlp" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["mlp", "?", "–", "–", "60.0", "–"]
    assert "one seed" in text and "±" not in text and "gain in points" not in text
