from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import parse_config
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.pretrain.folder import Record, read_record, require_resumable
from hmdc_ray.pretrain.plan import Plan, make_plan


@pytest.fixture
def config(three_digits_config: Any) -> RunConfig:
    return parse_config(
        {
            "seed": 3,
            "data": three_digits_config.model_dump(),
            "pool": {
                "members": [
                    {"name": "thin", "architecture": "convnet", "options": {"width": 8, "depth": 1}},
                    {"name": "drawn", "architecture": "convnet", "random_options": {"norm": ["batch", "instance"]}},
                ]
            },
            "evaluation": {"students": ["mlp", "convnet"], "whole_data_epochs": 4},
        },
        "test",
    )


def planned(config: RunConfig, architectures: str | None = None, seconds: float = 0.0) -> Plan:
    """The plan of a configuration for workers as it asks for, on CPUs unless it does."""
    plan = make_plan(config, open_dataset(config.data).info, architectures, "validation", seconds)
    gpus = config.evaluation.num_gpus
    return plan.with_workers(1, 0.0 if gpus == "auto" else gpus, config.matching.precision)


def identity(config: RunConfig, architectures: str | None = None) -> dict[str, Any]:
    return planned(config, architectures).identity(open_dataset(config.data).info)


def resumed(config: RunConfig, folder: Path, storage: str | None = None, **sections: Any) -> Record:
    """The record in the folder, for a configuration with some fields replaced, on CPUs unless it
    says else."""
    fields = {name: {**getattr(config, name).model_dump(), **value} for name, value in sections.items()}
    changed = parse_config(config.model_dump() | fields, "test")
    found = read_record(folder)
    require_resumable(found, folder, storage, planned(changed), open_dataset(changed.data).info)
    return found
