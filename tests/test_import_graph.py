"""What may import what: Ray, MLflow and Arrow stay at the edge, layers form no circles, and the
command line starts fast."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import open_dataset

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hmdc_ray", "tune_spaces", "jobs", "benchmarks")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PLACES = {
    "hmdc_ray/errors.py": "errors that are a line for the user",
    "hmdc_ray/seeding.py": "random draws from keys",
    "hmdc_ray/system": "the operating system: files, locks, memory, timing, signals",
    "hmdc_ray/config": "what a run is: sections, YAML, presets",
    "hmdc_ray/models": "networks and their optimisers",
    "hmdc_ray/data": "images",
    "hmdc_ray/condensed.py": "condensed sets as files",
    "hmdc_ray/exchange": "what crosses processes, and when: messages, schedule, protocols, recovery",
    "hmdc_ray/matching": "the mathematics of a member",
    "hmdc_ray/server": "the mathematics of the server: images, balance, consensus, checkpoints",
    "hmdc_ray/evaluation": "judging",
    "hmdc_ray/figures": "pictures",
    "hmdc_ray/interchange": "condensed sets of others",
    "hmdc_ray/tracking": "the edge to MLflow",
    "hmdc_ray/actors": "the edge to Ray: actors, tasks",
    "hmdc_ray/run": "a run: the round loop, the folder, resuming, status",
    "hmdc_ray/__init__.py": "the names for users' programs",
    "tune_spaces": "search spaces",
    "hmdc_ray/search": "Ray Tune",
    "hmdc_ray/pretrain": "Ray Train",
    "hmdc_ray/profiling": "measurements of a run's steps, for `hmdc plan` and the benchmarks",
    "hmdc_ray/cli": "the program `hmdc`, a module per command",
    "jobs": "entry points for `ray job submit` from a checkout",
    "benchmarks": "programs that measure; not installed",
}
"""Every place and what it is, from the lowest to the highest: a module imports from its own place
and lower ones only."""

HOMES = {
    "ray": ("hmdc_ray/actors/", "hmdc_ray/search/", "hmdc_ray/pretrain/", "tune_spaces/", "benchmarks/"),
    "mlflow": ("hmdc_ray/tracking/", "benchmarks/bench/tracking.py"),
    "pyarrow": ("hmdc_ray/data/", "hmdc_ray/condensed.py", "hmdc_ray/server/"),
}
ASSEMBLERS = (
    *HOMES["ray"],
    "hmdc_ray/run/evaluate.py",
    "hmdc_ray/run/execution.py",
    "hmdc_ray/profiling/",
    "hmdc_ray/cli/",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(path: Path, *, everywhere: bool) -> Iterator[str]:
    """Dotted names that a file imports: anywhere in it, or only when it is itself imported."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):  # parents come before their children
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if node in skipped or (not everywhere and (later or _is_type_checking(node))):
            skipped.update(ast.iter_child_nodes(node))
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def own_modules(path: Path, *, everywhere: bool = False) -> set[str]:
    """Modules of this repository that are imported with the file, or anywhere in it."""
    found = set()
    for name in imported(path, everywhere=everywhere):
        if name.partition(".")[0] in PACKAGES:
            found.add(name if name in MODULES else name.rpartition(".")[0])
    return found


def within(path: Path, places: tuple[str, ...]) -> bool:
    return path.relative_to(ROOT).as_posix().startswith(places)


def quick_tests() -> list[Path]:
    """The files that ``make check`` runs."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (places,) = re.findall(r"^QUICK := (.+)$", makefile, re.MULTILINE)
    ignored = {ROOT / name for name in re.findall(r"--ignore (\S+)", makefile)}
    found = [file for place in places.split() for file in [*(ROOT / place).rglob("test_*.py")] or [ROOT / place]]
    return [file for file in found if file not in ignored]


def test_quick_tests_need_neither_ray_nor_a_whole_run() -> None:
    files = quick_tests()
    assert Path(__file__) in files
    heavy = {"ray", "whole_runs"}
    assert [file for file in files if heavy & {name.partition(".")[0] for name in imported(file, everywhere=True)}] == []


def test_the_graph_is_seen() -> None:
    assert "ray" in {name.partition(".")[0] for name in imported(MODULES["hmdc_ray.actors.session"], everywhere=True)}
    assert "hmdc_ray.models.registry" in own_modules(MODULES["hmdc_ray.models.lenet"])
    assert all(own_modules(path) <= set(MODULES) for path in FILES)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = [path for path in FILES if library in {name.partition(".")[0] for name in imported(path, everywhere=True)}]
    assert users, f"nothing imports {library}: is this test still right?"
    assert [str(path) for path in users if not within(path, HOMES[library])] == []


def test_actors_are_created_only_where_a_run_is_assembled() -> None:
    users = [path for path in FILES if any(name.startswith("hmdc_ray.actors") for name in own_modules(path))]
    assert [str(path) for path in users if not within(path, ASSEMBLERS)] == []


def place_of(module: str) -> str:
    """The place that holds the module, by the longest name."""
    path = MODULES[module].relative_to(ROOT)
    return max((place for place in PLACES if path.is_relative_to(place)), key=len)


def test_every_place_holds_modules() -> None:
    assert {place_of(name) for name in MODULES} == set(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_imported_from_a_higher_place(place: str) -> None:
    order = list(PLACES)
    upwards = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        if place_of(name) == place
        for other in own_modules(path, everywhere=True)
        if order.index(place_of(other)) > order.index(place)
    ]
    assert upwards == []


def test_the_table_of_places_is_that_of_the_guide_for_contributors() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert [row for row in rows if row[0] in PLACES] == list(PLACES.items())


def test_modules_form_no_circle() -> None:
    graph = {name: own_modules(path) - {name} for name, path in MODULES.items()}
    for name, needed in graph.items():  # a package's own __init__ is run before its modules, whatever it imports
        graph[name] = {module for module in needed if not name.startswith(f"{module}.")}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(order) == set(MODULES)


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("hmdc_ray.config.io", ("torch", "ray", "mlflow", "pyarrow", "timm", "sklearn")),
        ("hmdc_ray.cli.main", ("torch", "ray", "mlflow", "pyarrow", "timm", "sklearn")),
        ("hmdc_ray.cli.dry_run", ("ray", "mlflow")),
        ("hmdc_ray.actors.session", ("torch", "mlflow")),
        ("hmdc_ray.cli.terminal", ("torch", "ray", "mlflow")),
        ("hmdc_ray.run.condense", ("mlflow",)),
        ("benchmarks.bench.configuration", ("ray", "mlflow")),
        ("benchmarks.simulation.members", ("torch", "ray", "mlflow", "pyarrow")),
    ],
)
def test_what_is_slow_is_not_imported_in_vain(module: str, slow: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*(set(sys.modules) & set({slow!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


STEP = """
import sys
from pathlib import Path
import numpy as np
from hmdc_ray.actors.local import LocalPool
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config.io import apply_overrides
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.figures.image_grid import grid_array
from hmdc_ray.config.presets import preset
from hmdc_ray.run.validate import validate

class Stepped(Exception):
    pass

def after_step(record):
    raise Stepped

folder = Path(sys.argv[1])
config = apply_overrides(preset("digits"), [f"data.cache={folder / 'cache'}", "matching.real_batch=2", "schedule.steps=2"])
info = open_dataset(config.data).info
validate(config, info)
grid_array(CondensedSet.learned(np.zeros((10, 1, 1, 16, 16)), info, config))  # a run draws its first images
pool = LocalPool(config, info, folder)
coordinator = Coordinator(config, pool, classes=10, train_images=info.sizes["train"], tell=lambda *_, **__: None)
try:
    coordinator.run(0, after_step)
except Stepped:
    print("stepped", *(set(sys.modules) & set(sys.argv[2:])))
"""


def test_the_first_step_needs_no_module_that_takes_seconds_to_import(tmp_path: Path) -> None:
    slow = ("torch._dynamo", "torchvision", "timm", "sympy", "pandas", "sklearn", "scipy.stats", "matplotlib", "mlflow", "ray")
    open_dataset(DataConfig(source="digits", cache=str(tmp_path / "cache")))  # decoding may import what it wants
    command = [sys.executable, "-c", STEP, str(tmp_path), *slow]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, ["stepped"]), done.stderr
