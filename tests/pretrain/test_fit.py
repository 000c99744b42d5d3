from __future__ import annotations

from pathlib import Path

import pytest
import ray
import ray.train
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from hmdc_ray.errors import InputError, RunError
from hmdc_ray.pretrain import fit


def test_a_cluster_that_is_too_small_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 3.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])
    assert fit.require_resources(3, 2, 0) == {"CPU": 2.0}
    assert fit.require_resources(2, 1, 0.5) == {"CPU": 1.0, "GPU": 0.5}
    with pytest.raises(InputError, match="--workers is 4, each with 2 CPU, but the cluster has room for 3"):
        fit.require_resources(4, 2, 0)
    with pytest.raises(InputError, match=r"--workers is 2, each with 1 GPU, .* room for 1: .* smaller evaluation.num_gpus"):
        fit.require_resources(2, 1, 1)


@pytest.mark.parametrize("storage", ["{file}/folder", "nowhere://bucket/folder"])
def test_a_storage_that_cannot_be_written(tmp_path: Path, storage: str) -> None:
    (tmp_path / "file").touch()
    storage = storage.format(file=tmp_path / "file")
    with pytest.raises(InputError, match=r"storage path '.*' cannot be written \(.*\): give a folder, or an address"):
        fit.run_config("name", storage)


def test_a_failure_is_told_in_a_line() -> None:
    def raised(error: Exception) -> Exception:
        return UserExceptionWithTraceback(error, "Traceback")

    wrong = InputError("data.source is 'x', which does not exist")
    told = fit._cause(ray.train.WorkerGroupError("text", {1: ActorDiedError(), 0: raised(wrong)}))
    assert isinstance(told, InputError) and str(told) == str(wrong)
    died = fit._cause(ray.train.WorkerGroupError("text", {0: raised(RuntimeError("connection closed")), 1: ActorDiedError()}))
    assert isinstance(died, RunError) and "workers died 4 times (The actor died" in str(died) and "\n" not in str(died)
    bug = ray.train.WorkerGroupError("text", {0: raised(KeyError("x"))})
    assert fit._cause(bug) is bug
