"""One trial without Ray: what is useless is told once, what is known is reported again, a
checkpoint fills an empty folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray import tune
from whole_runs import tiniest

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.search import trial as module
from hmdc_ray.search.records import RungRecord
from hmdc_ray.search.settings import WHOLE
from hmdc_ray.search.trial import RECORDS_FILE, TrialTask
from hmdc_ray.system.files import append_json_line, read_json_lines

SAMPLE = {"evaluation.distillation.alpha": 0.5, "evaluation.distillation.temperatures": 2.0}
NAME = "0001-abc"


@dataclass
class Session:
    """Ray Tune's side of a trial, and a run that goes through its rungs at once with images of
    noise."""

    folder: Path
    scale: float = 1.0
    checkpoint: Path | None = None
    reports: list[dict[str, Any]] = field(default_factory=list)
    versions: list[int] | None = None
    runs: int | None = None
    dies_at: int | None = None

    def report(self, metrics: dict[str, Any], checkpoint: Any) -> None:
        assert (Path(checkpoint.path) / RECORDS_FILE).exists()
        self.reports.append(metrics)

    def get_checkpoint(self) -> Any:
        if self.checkpoint is None:
            return None

        @contextmanager
        def as_directory() -> Iterator[str]:
            yield str(self.checkpoint)

        return SimpleNamespace(as_directory=as_directory)

    def run_in_rungs(
        self,
        config: RunConfig,
        info: Any,
        folder: Path,
        versions: Collection[int],
        judge: Callable[[int, CondensedSet], Any],
        report: Callable[[], None],
        *,
        runs: int,
        **_: Any,
    ) -> None:
        self.versions, self.runs = list(versions), runs
        folder.mkdir(parents=True, exist_ok=True)
        for version in versions:
            for step in range(1, version + 1):
                append_json_line(folder / "metrics.jsonl", {"step": step, "seconds/step": 0.5})
            images = self.scale * torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(version))
            judge(version, CondensedSet(images, torch.arange(3), info.class_names, info.mean, info.std))
            if version == self.dies_at:
                raise KeyboardInterrupt
            report()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session(tmp_path)
    context = SimpleNamespace(get_trial_dir=lambda: str(tmp_path / "elsewhere" / NAME))
    monkeypatch.setattr(tune, "get_context", lambda: context)
    monkeypatch.setattr(tune, "get_checkpoint", made.get_checkpoint)
    monkeypatch.setattr(tune, "report", made.report)
    monkeypatch.setattr(module, "run_in_rungs", made.run_in_rungs)
    monkeypatch.setattr(ray.util, "get_current_placement_group", lambda: object())
    monkeypatch.chdir(tmp_path)
    return made


def task(folder: Path, **sections: Any) -> TrialTask:
    evaluation = {"students": ["mlp"], "seeds": 1, "epochs": 2, "baselines": "none", **sections.pop("evaluation", {})}
    base = tiniest(folder, evaluation=evaluation, **sections)
    return TrialTask(base, "distillation", folder=str(folder / "trials"), code_folder=str(folder), parent=None, concurrent=3)


def rung(version: int, fidelity: int, accuracy: float) -> RungRecord:
    return RungRecord(version, version // 3, fidelity, accuracy, accuracy, "mlp", {"mlp": accuracy}, 1.0)


def test_every_rung_is_judged_kept_and_reported(session: Session) -> None:
    task(session.folder).run(SAMPLE)
    kept = read_json_lines(session.folder / "trials" / NAME / RECORDS_FILE)
    assert [record["version"] for record in kept] == [3, 6] == session.versions
    assert session.runs == 3  # so many share the memory
    assert [report["fidelity"] for report in session.reports] == [3, WHOLE]
    assert json.loads(session.reports[-1]["rungs"]) == kept
    assert [report["accuracy"] for report in session.reports] == [record["accuracies"]["mlp"] for record in kept]
    assert kept[0]["seconds"] == 1.5
    assert kept[0]["problem"] == ""


def test_training_that_diverges_ends_the_trial_as_the_worst(session: Session) -> None:
    session.scale = 1e30
    task(session.folder, evaluation={"epochs": 40}).run(SAMPLE)
    (report,) = session.reports
    assert report["accuracy"] == 0 and report["fidelity"] == WHOLE
    assert "training diverges" in json.loads(report["rungs"])[0]["problem"]


def test_a_draw_that_is_not_valid_ends_the_trial_without_a_run(session: Session) -> None:
    task(session.folder).run({**SAMPLE, "evaluation.distillation.alpha": 2.0})
    (report,) = session.reports
    assert session.versions is None
    assert "evaluation.distillation.alpha is 2.0: must be a number, 0 to 1" in json.loads(report["rungs"])[0]["problem"]


def test_a_network_that_does_not_admit_the_images_ends_the_trial_without_a_run(session: Session) -> None:
    task(session.folder, pool={"members": [{"architecture": "vit", "options": {"patch_size": 7}}]}).run(SAMPLE)
    assert session.versions is None
    assert "patch_size" in json.loads(session.reports[0]["rungs"])[0]["problem"]


def test_what_the_folder_holds_is_reported_and_not_done_again(session: Session) -> None:
    """A search that was killed after a rung was judged, before Ray Tune had stored that."""
    for record in (rung(3, 3, 0.4), rung(6, 9, 0.6)):
        (session.folder / "trials" / NAME).mkdir(parents=True, exist_ok=True)
        append_json_line(session.folder / "trials" / NAME / RECORDS_FILE, asdict(record))
    task(session.folder).run(SAMPLE)
    assert session.versions is None
    assert [report["accuracy"] for report in session.reports] == [0.4, 0.6]


def test_a_rung_that_was_judged_but_maybe_not_tracked_is_judged_again(session: Session) -> None:
    session.dies_at = 6
    with pytest.raises(KeyboardInterrupt):
        task(session.folder).run(SAMPLE)
    assert session.versions == [3, 6]
    session.dies_at, session.reports = None, []
    task(session.folder).run(SAMPLE)
    assert session.versions == [6]
    assert [report["fidelity"] for report in session.reports] == [3, WHOLE]


@pytest.mark.parametrize("here", [True, False], ids=["same node", "another node"])
def test_a_trial_goes_on_from_the_checkpoint(session: Session, here: bool) -> None:
    folder = session.folder / "trials" / NAME
    folder.mkdir(parents=True)
    append_json_line(folder / RECORDS_FILE, asdict(rung(3, 3, 0.4)))
    session.checkpoint = session.folder / "saved"
    shutil.copytree(folder, session.checkpoint)
    if not here:
        shutil.rmtree(folder)
    task(session.folder).run(SAMPLE)
    assert session.versions == [6]
    assert [report["fidelity"] for report in session.reports] == [WHOLE]
    assert [record["version"] for record in read_json_lines(folder / RECORDS_FILE)] == [3, 6]


def test_trials_see_data_without_the_test_split(session: Session) -> None:
    made = task(session.folder)
    trial = module._Trial(made, SAMPLE, session.folder / "trials" / NAME)
    trial.run()
    with pytest.raises(PermissionError):
        trial._dataset.labels("test")
    assert len(open_dataset(made.base.data).labels("test"))
    assert trial._config.evaluation.split == "validation"
