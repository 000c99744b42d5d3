from pathlib import Path

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.run.absolute_paths import with_absolute_paths


def made(prefix: str, source: str = "") -> RunConfig:
    network = {"architecture": "mlp", "weights": f"checkpoint:{prefix}w"}
    return RunConfig.model_validate(
        {
            "data": {"source": source or f"{prefix}data", "cache": f"{prefix}cache"},
            "images": {"initialise": f"set:{prefix}set"},
            "pool": {"members": [network]},
            "evaluation": {
                "students": [network, "lenet"],
                "whole_data": f"{prefix}whole",
                "distillation": {"teacher": network},
            },
        }
    )


@pytest.mark.parametrize("prefix", ["", "a/"])
def test_every_path_becomes_absolute_but_those_from_home(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = with_absolute_paths(made(prefix))
    assert found == made(f"{tmp_path}/{prefix}") == with_absolute_paths(found)
    assert with_absolute_paths(made("~/")) == made("~/")
    assert with_absolute_paths(made("", source="digits")).data.source == "digits"  # these are built in
