"""A recorded run is read back through MLflow's client, from the database beside the runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmdc_ray.config import RunConfig, TrackingConfig
from hmdc_ray.config.io import flatten
from hmdc_ray.tracking import Recorder
from tracking.mlflow_server import Store, artifacts, both_forms, history, picture_steps, recorded


def test_the_terminal_stays_clean(store: Store) -> None:
    assert store.terminal == ""


def test_the_store_lies_beside_the_runs(store: Store) -> None:
    assert {"mlflow.db", "mlruns"} <= {entry.name for entry in store.folder.iterdir()}
    assert store.client.get_run(store.run_id).info.artifact_uri.startswith((store.folder / "mlruns").as_uri())


def test_a_run_reads_back(store: Store, tmp_path: Path) -> None:
    recorder = recorded(store.folder / "second")
    flat = flatten(RunConfig())
    recorder.parameters(flat)
    for step in range(700):
        recorder.metrics(step, {"loss/vit": step / 2, "odd=name": 1.0})
    recorder.metrics(700, {"diverged": math.nan, "endless": math.inf})
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    recorder.image("images", picture, 50)
    picture[:] = 0
    recorder.dataset("digits", "/data/digits", "f" * 64, {"image": "uint8 16x16x1"}, {"train": 100})
    run_folder = store.folder / "second"
    (run_folder / "folder").mkdir()
    (run_folder / "folder" / "inner.txt").write_text("inner")
    (run_folder / "config.yaml").write_text("seed: 3")
    recorder.artifacts(run_folder.iterdir())
    recorder.finish("FINISHED")
    recorder.finish("FAILED")

    run = store.client.get_run(recorder.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "second"
    assert run.data.params == {name: str(value) for name, value in flat.items()}
    assert run.data.tags["preset"] == "digits"
    assert history(store.client, recorder.run_id, "loss/vit") == [(step, step / 2) for step in range(700)]
    assert run.data.metrics["odd_name"] == 1.0
    assert math.isnan(run.data.metrics["diverged"])
    assert run.data.metrics["endless"] > 1e300
    assert run.inputs is not None
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source) == ("digits", "f" * 36, '{"uri": "/data/digits"}')
    assert "16x16x1" in str(entry.dataset.schema)
    assert entry.dataset.profile == '{"train": 100}'

    assert artifacts(store.client, recorder.run_id) == {"config.yaml", "folder", "images"}
    assert artifacts(store.client, recorder.run_id, "folder") == {"folder/inner.txt"}
    assert picture_steps(store.client, recorder.run_id) == both_forms(50)
    (png,) = [path for path in artifacts(store.client, recorder.run_id, "images") if path.endswith(".png")]
    with Image.open(store.client.download_artifacts(recorder.run_id, png, str(tmp_path))) as image:
        assert np.array_equal(np.asarray(image), np.arange(24).reshape(2, 4, 3))
    assert str(store.folder / "mlflow.db") in recorder.location
    assert f"/runs/{recorder.run_id}" in recorder.location


def test_a_run_goes_on_and_a_step_done_again_counts_once(store: Store) -> None:
    assert store.client.get_run(store.run_id).info.status == "KILLED"
    recorder = recorded(store.folder / "first")
    assert recorder.run_id == store.run_id
    recorder.metrics(1, {"loss": 1.0, "later": 3.0})
    recorder.metrics(2, {"loss": 0.5})
    for step in (1, 1, 2):
        recorder.image("images", np.zeros((2, 2, 3), np.uint8), step)
    recorder.finish("FAILED")
    assert store.client.get_run(store.run_id).info.status == "FAILED"
    assert history(store.client, store.run_id, "loss") == [(1, 1.0), (2, 0.5)]
    assert history(store.client, store.run_id, "later") == [(1, 3.0)]
    assert picture_steps(store.client, store.run_id) == both_forms(1, 2)


def test_the_environment_names_the_store(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.folder / 'mlflow.db'}")
    recorder = recorded(tmp_path / "third", TrackingConfig(experiment="other"))
    recorder.finish("FINISHED")
    experiment = store.client.get_experiment(store.client.get_run(recorder.run_id).info.experiment_id)
    assert experiment.name == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["third"]


def test_without_tracking_nothing_happens(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.parameters({"a": 1})
    recorder.metrics(0, {"loss": 1.0})
    recorder.image("images", np.zeros((1, 1, 3), np.uint8), 0)
    recorder.dataset("digits", "", "", {}, {})
    recorder.artifacts([tmp_path / "none"])
    recorder.finish("FINISHED")
    assert (recorder.run_id, recorder.location) == ("", "")
