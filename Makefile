# Every target sets up what it needs: the virtual environment in .venv, uv, the pinned packages, the project itself.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Compiled modules must stay on the disk: without them importing torch takes three times as long, in every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test check lint docs bench chaos clean

help:
	@echo "make demo    condense the built-in digits and show the result (about two minutes)"
	@echo "make check   check style and types, run the quick tests (about two minutes of tests)"
	@echo "make test    run all tests"
	@echo "make lint    check style and types"
	@echo "make docs    build the documentation into site/"
	@echo "make chaos   kill processes and nodes of a run, fuzz what is read (about 20 minutes)"
	@echo "make bench   measure a step: seconds by phase, bytes, memory; on CIFAR-10 with DATA=DIR, else on the built-in digits"

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "installing packages (pinned in constraints.txt)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/hmdc condense digits --output runs/digits --overwrite

# Tests that start no Ray, or little of it, run two at a time; the others, whose timeouts are real, by themselves.
SIDE_BY_SIDE := $(addprefix tests/,cli config data devices docs evaluation exchange figures interchange matching models parity \
	server tracking tune_spaces) $(wildcard tests/test_*.py)

test: setup
	@$(BIN)/python -m pytest --durations=10 --numprocesses 2 --dist loadfile $(SIDE_BY_SIDE)
	@$(BIN)/python -m pytest --durations=20 $(addprefix --ignore=,$(SIDE_BY_SIDE))

# While working: what needs no Ray, and no whole run.
QUICK := tests/config tests/docs tests/exchange tests/matching tests/models tests/server tests/test_errors.py \
	tests/test_import_graph.py tests/test_seeding.py

check: lint
	@$(BIN)/python -m pytest $(QUICK) --ignore tests/docs/test_notebook.py --ignore tests/server/test_initial_set.py \
		--ignore tests/server/test_storage.py

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

.venv/.docs: .venv/.ready
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

bench: setup
	@$(BIN)/python -m benchmarks.bench $(if $(DATA),--data '$(DATA)')

# All nodes of the test cluster on loopback.
chaos: setup
	@cd tests && RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 ../$(BIN)/python -m faults.chaos --kills 21
	@cd tests && RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 ../$(BIN)/python -m faults.chaos --kills 12 --replicas 2 --seed 1
	@cd tests && RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 ../$(BIN)/python -m faults.layouts
	@cd tests && ../$(BIN)/python -m faults.driver_kills --kills 20
	@HMDC_FUZZ_CASES=5000 $(BIN)/python -m pytest -q tests/faults -k fuzz

clean:
	rm -rf .venv build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
