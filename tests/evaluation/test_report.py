import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import EvaluationConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.plan import plan
from hmdc_ray.evaluation.report import Evaluation, summarise
from hmdc_ray.evaluation.table import table

RESULTS = {"condensed": 0.6, "random": 0.5, "kmeans": 0.55}


def evaluation(
    digits: ImageDataset, condensed: CondensedSet, *, baselines: str = "both", seeds: int = 3, pool: set[str] | None = None
) -> Evaluation:
    config = EvaluationConfig.model_validate({"students": ["mlp", "lenet"], "seeds": seeds, "baselines": baselines})
    trials = plan(config)
    results = [RESULTS[trial.kind] + 0.01 * trial.seed_index - 0.2 * trial.member_index for trial in trials]
    return summarise(config, trials, results, condensed=condensed, info=digits.info, run_seed=4, pool=pool)


def test_rows_gather_each_students_seeds(digits: ImageDataset, digit_means: CondensedSet) -> None:
    made = evaluation(digits, digit_means, pool={"mlp", "convnet"})

    assert [(row.architecture, row.in_pool) for row in made.rows] == [("mlp", True), ("lenet", False)]
    assert made.rows[0].condensed.values == pytest.approx((0.60, 0.61, 0.62))
    assert made.rows[1].kmeans is not None and made.rows[1].kmeans.values == pytest.approx((0.35, 0.36, 0.37))


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
    console.print(table(made))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_shows_means_intervals_and_gain(digits: ImageDataset, digit_means: CondensedSet) -> None:
    text = shown(evaluation(digits, digit_means, pool={"mlp"}))

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
