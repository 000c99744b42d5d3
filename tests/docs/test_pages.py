"""What the pages say is there: commands and their options, configuration fields, files, names of
the package, links."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from hmdc_ray.cli.main import app
from hmdc_ray.config import MemberConfig, RunConfig, StudentConfig
from hmdc_ray.config.io import apply_overrides, parse_config
from hmdc_ray.config.presets import PRESETS, preset

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
each_page = pytest.mark.parametrize("page", PAGES, ids=IDS)

LINES_OF_README = 150
FILE_ENDINGS = (".pt", ".json", ".jsonl", ".png", ".parquet", ".yaml")
FOLDERS = ("hmdc_ray/", "tests/", "tune_spaces/", "jobs/", "benchmarks/", "docs/")
BENCHMARKS = ("bench", "pool_search", "simulation", "study")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, empty for an indented one, and its lines."""

    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Fenced and indented blocks; an indented one follows an empty line, in a list deeper."""
    rest = []
    for part in re.split(r"^(```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        fenced = re.fullmatch(r"```(\w*)\n(.*?)```", part, re.DOTALL)
        if fenced:
            yield Block(fenced[1], fenced[2])
        else:
            rest.append(part)
    for found in re.finditer(r"(?:(?<=\n\n)|\A)(?: {4,}\S.*\n)+", "\n\n".join(rest)):
        yield Block("", found[0])


def prose(text: str) -> str:
    """The page without its blocks."""
    return re.sub(r"^ {4,}\S.*$", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE)


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def commands(text: str, *, mentioned: bool = False) -> Iterator[list[str]]:
    """Commands of the shell, as words: those in blocks, or those that are only mentioned, often
    without their arguments."""
    lines = [line for block in blocks(text) if not block.language for line in block.text.replace("\\\n", " ").splitlines()]
    for line in inline_code(text) if mentioned else lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|<>;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            words = list(lexer)
        except ValueError:
            continue  # a formula
        command: list[str] = []
        for word in [*words, "&&"]:
            if set(word) <= set("&|<>;"):
                yield command
                command = []
            else:
                command.append(word)


def of_program(text: str, *names: str, mentioned: bool = False) -> list[list[str]]:
    """The words after the name of a program, of every command that calls it, by itself or at the
    end of another."""
    found = []
    for words in commands(text, mentioned=mentioned):
        starts = (place for place in range(len(words)) if tuple(words[place : place + len(names)]) == names)
        found += [words[place + len(names) :] for place in starts][:1]
    return found


def parse(group: Any, name: str, words: list[str], *, mentioned: bool) -> tuple[str, dict[str, Any]]:
    """The command and its parameters, as the program would parse them; the program is not run."""
    try:
        context = group.make_context(name, list(words))
        if not hasattr(group, "resolve_command"):
            return name, context.params
        command, found, rest = group.resolve_command(context, list(words))
        if "--help" in rest:
            return command, {}
        return command, found.make_context(command, rest, parent=context).params
    except typer.BadParameter as error:
        if mentioned and type(error).__name__ == "MissingParameter":
            return "", {}
        raise


both = pytest.mark.parametrize("mentioned", [False, True], ids=["blocks", "text"])


@both
@each_page
def test_commands_of_the_program_have_these_options(page: Path, mentioned: bool) -> None:
    group = typer.main.get_command(app)
    for words in of_program(page.read_text(), "hmdc", mentioned=mentioned):
        if not words or words[0] == "--help":
            continue
        command, parameters = parse(group, "hmdc", words, mentioned=mentioned)
        asked = str(parameters.get("configuration"))
        if asked in PRESETS or command == "evaluate":
            apply_overrides(preset(asked) if asked in PRESETS else RunConfig(), parameters.get("set_") or [])


@both
@each_page
def test_programs_that_measure_have_these_options(page: Path, mentioned: bool) -> None:
    for name in BENCHMARKS:
        module = f"benchmarks.{name}"
        for words in of_program(page.read_text(), "python", "-m", module, mentioned=mentioned):
            program = typer.Typer()
            program.command()(getattr(importlib.import_module(f"{module}.__main__"), name))
            parse(typer.main.get_command(program), module, words, mentioned=mentioned)


@both
@each_page
def test_make_has_these_targets(page: Path, mentioned: bool) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in of_program(page.read_text(), "make", mentioned=mentioned):
        assert [word for word in words if word.islower()] == [word for word in words if word in targets], words


@both
@each_page
def test_tests_and_modules_that_are_run_exist(page: Path, mentioned: bool) -> None:
    for words in commands(page.read_text(), mentioned=mentioned):
        if "pytest" in words:
            assert [path for path in words if path.startswith("tests") and not (ROOT / path).exists()] == []
        for option, module in pairwise(words):
            if option == "-m" and module.startswith(("faults.", "jobs.", "benchmarks.")):
                home = ROOT / "tests" if module.startswith("faults") else ROOT
                path = home.joinpath(*module.split("."))
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def fields_of(section: type[BaseModel]) -> dict[str, Any]:
    return {name: field.annotation for name, field in section.model_fields.items()}


def is_field(path: list[str]) -> bool:
    """Whether a dotted path names a field of a run's configuration; entries of lists are named by
    their names."""
    where: Any = RunConfig
    for part in path:
        if where in ((MemberConfig,), (StudentConfig,)):  # a list, of which this is an entry
            (where,) = where
            continue
        fields = fields_of(where) if isinstance(where, type) and issubclass(where, BaseModel) else {}
        if part not in fields:
            return False
        where = {"members": (MemberConfig,), "students": (StudentConfig,)}.get(part, _section(fields[part]))
    return True


def _section(annotation: Any) -> Any:
    """The section that a field holds, also one that may be null."""
    parts = getattr(annotation, "__args__", (annotation,))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


@each_page
def test_fields_of_the_configuration_exist(page: Path) -> None:
    unknown = []
    for code in inline_code(page.read_text()):
        path = code.partition("=")[0].partition(":")[0]
        if re.fullmatch(r"[a-z_]+(\.\w+)+", path) and path.split(".")[0] in RunConfig.model_fields:
            unknown += [] if path.endswith(FILE_ENDINGS) or is_field(path.split(".")) else [code]
    assert unknown == []


def test_fields_are_told_from_others() -> None:
    assert is_field(["evaluation", "distillation", "alpha"]) and is_field(["pool", "members", "NAME", "resources"])
    assert not is_field(["evaluation", "alpha"]) and not is_field(["pool", "members", "NAME", "alpha"])


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    missing = [code for code in inline_code(page.read_text()) if re.fullmatch(r"[\w/.-]+", code) and code.startswith(FOLDERS)]
    assert [code for code in missing if not (ROOT / code).exists()] == []


def slug(heading: str) -> str:
    """The anchor of a heading, as Markdown's table of contents makes it."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"`|\[|\]\(.*?\)", "", heading)).strip().lower()
    return re.sub(r"[\s-]+", "-", plain)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.is_file() or (anchor and anchor not in map(slug, HEADING.findall(target.read_text()))):
            broken.append(link)
        elif page.is_relative_to(DOCS) and not target.resolve().is_relative_to(DOCS):
            broken.append(f"{link}, which leads out of the site")
    assert broken == []


def module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def defined(file: Path) -> set[str]:
    """Names at the top of a module, read and not imported; those that its ``__all__`` promises
    among them."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets) and node.value:
                found |= set(ast.literal_eval(node.value))
    return found


@each_page
def test_code_can_be_read_and_imports_what_there_is(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hmdc_ray":
                file = module_file(node.module or "")
                assert file is not None, node.module
                for name in node.names:
                    assert name.name in defined(file) or module_file(f"{node.module}.{name.name}"), f"{node.module}.{name.name}"


@each_page
def test_configurations_are_valid(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "yaml":
            parse_config(yaml.safe_load(block.text), page.name)


@each_page
def test_the_reference_is_of_what_there_is(page: Path) -> None:
    for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE):
        module, _, part = name.rpartition(".")
        file = module_file(module)
        assert module_file(name) or (file is not None and part in defined(file)), name


def nav_pages(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from nav_pages(part)


def test_every_page_is_in_the_navigation_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = list(nav_pages(site["nav"]))
    made = [page.with_suffix(".md") for page in DOCS.rglob("*.ipynb")]  # by docs/notebook_page.py
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in [*DOCS.rglob("*.md"), *made])
    assert site["theme"]["font"] is False  # else pages fetch them from elsewhere


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LINES_OF_README


def test_blocks_are_found() -> None:
    text = "a\n\n    hmdc status x && make test\n\n- b\n\n        make lint\n\n```python\nhmdc = 1\n```\n\n`hmdc plan dc`\n"
    assert of_program(text, "hmdc") == [["status", "x"]]
    assert of_program(text, "hmdc", mentioned=True) == [["plan", "dc"]]
    assert of_program(text, "make") == [["test"], ["lint"]]
