"""Every module has a test of its name: ``hmdc_ray/PLACE/x.py`` and ``tests/PLACE/test_x.py``."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
BESIDE = {"benchmarks", "devices", "docs", "faults", "jobs", "parity"}
"""Folders of tests of other things than a place's modules."""


def twin(module: Path) -> Path:
    package, *place = module.relative_to(ROOT).parent.parts
    return Path(*([package] if package == "tune_spaces" else []), *place, f"test_{module.stem}.py")


def test_every_module_has_a_test_of_its_name() -> None:
    modules = [path for package in ("hmdc_ray", "tune_spaces") for path in (ROOT / package).rglob("*.py")]
    twins = {twin(module) for module in modules if not module.stem.startswith("__")}
    assert sorted(str(each) for each in twins if not (TESTS / each).exists()) == []


def test_every_folder_of_tests_is_of_a_place() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    places = {path.parent.relative_to(ROOT / "hmdc_ray") for path in (ROOT / "hmdc_ray").rglob("*.py")}
    assert {str(folder) for folder in folders - places} <= BESIDE | {"tune_spaces"}
