"""The plan of a run that ``--dry-run`` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from hmdc_ray.cli.dry_run import show_plan
from hmdc_ray.config import RunConfig


@pytest.mark.parametrize(("statistics", "told"), [("mnist", True), ("0.1307:0.3081", True), ("0.2861:0.3530", False)])
def test_what_is_taken_for_mnist_is_told(statistics: str, told: bool, tmp_path: Path) -> None:
    evaluation = {"students": ["mlp"]}
    data = {"cache": str(tmp_path), "statistics": statistics}
    config = RunConfig.model_validate({"data": data, "pool": {"members": ["lenet"]}, "evaluation": evaluation})
    console = Console(record=True, width=200)
    show_plan(config, tmp_path / "run", console)
    assert ("MNIST by its statistics: protocol dc trains 1000 epochs" in console.export_text()) == told
