"""The plan of a run that ``--dry-run`` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from hmdc_ray.cli import dry_run
from hmdc_ray.cli.dry_run import show_plan
from hmdc_ray.config import RunConfig
from hmdc_ray.exchange.resources import Node


@pytest.mark.parametrize(("statistics", "told"), [("mnist", True), ("0.1307:0.3081", True), ("0.2861:0.3530", False)])
def test_what_is_taken_for_mnist_is_told(statistics: str, told: bool, tmp_path: Path) -> None:
    evaluation = {"students": ["mlp"]}
    data = {"cache": str(tmp_path), "statistics": statistics}
    config = RunConfig.model_validate({"data": data, "pool": {"members": ["lenet"]}, "evaluation": evaluation})
    console = Console(record=True, width=200)
    show_plan(config, tmp_path / "run", console)
    assert ("MNIST by its statistics: protocol dc trains 1000 epochs" in console.export_text()) == told


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (Node(8.0), "2 members on 8 CPU cores (there is no GPU); 4 threads each"),
        (Node(8.0, 1.0, "H100"), "2 members on 1 x H100, half each; 4 threads each"),
        (Node(8.0, 8.0, "H100"), "2 members on 2 x H100, one each; 4 threads each"),
    ],
)
def test_what_auto_would_become_here_is_told(node: Node, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "this_machine", lambda: node)
    pool = {"members": [{"architecture": "mlp", "name": name} for name in ("a", "b")]}
    config = RunConfig.model_validate({"data": {"cache": str(tmp_path)}, "pool": pool, "evaluation": {"students": ["mlp"]}})
    console = Console(record=True, width=200)
    show_plan(config, tmp_path / "run", console)
    (shown,) = [
        text.split(maxsplit=1)[1].strip() for text in console.export_text().splitlines() if text.startswith("resources")
    ]
    assert shown == f"{line}, on this machine"
