# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HOSTS ?= cluster
DATA_ROOT ?= $(HOME)/.cache/study-data

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-studies test-cluster test-slow test-all test-data versions chaos lint format bench bench-gpu bench-studies clean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with the pinned versions.

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

quickstart: $(STAMP)  ## Run a whole study on real 8x8 digits and print its verdict.
	$(BIN)/study launch search_spaces/quickstart.yaml

test: $(STAMP)  ## Run the default tests, in two processes (about 15 min on 2 cores).
	$(BIN)/python -m pytest -n 2

test-studies: $(STAMP)  ## Run the tests that start Ray or kill processes (about 40 min on 2 cores).
	$(BIN)/python -m pytest -m 'studies and not slow'

test-cluster: $(STAMP)  ## Run the tests over hosts that they make in network namespaces, as root (about 50 min on 2 cores; HOSTS='cluster and not slow': 15).
	$(BIN)/python -m pytest -m '$(HOSTS)' -rs

test-slow: $(STAMP)  ## Run the tests of minutes each that CI leaves out, those over hosts as root (more than an hour).
	$(BIN)/python -m pytest -m slow -rs

test-all: test test-studies test-cluster  ## Run all three.

test-data: $(STAMP)  ## Run the tests on real datasets in DATA_ROOT.
	STUDY_DATA_ROOT=$(DATA_ROOT) $(BIN)/python -m pytest -m data

versions: $(STAMP)  ## Print the versions of the libraries that results depend on.
	@$(BIN)/python --version
	@$(BIN)/python -m pip list --disable-pip-version-check --format freeze | \
	  grep -E '^(torch|torchvision|ray|optuna|mlflow|pyarrow)=='

chaos: $(STAMP)  ## Kill a small study 200 times and see whether anything is lost (about 35 min).
	$(BIN)/python tests/study/chaos.py --kills 200 --seed 1

lint: $(STAMP)  ## Check format, style and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## Time the bank, an evaluation, Tune's side, a report and 500 trials on a cluster (see benchmarks/README.md).
	$(BIN)/python -m benchmarks.bank
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.tune_overhead
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.scale --trials 500

bench-gpu:  ## Time many members on one GPU; PYTHON needs torch alone.
	$(PYTHON) -m benchmarks.gpu

bench-studies: $(STAMP)  ## Time whole studies beside programs written by hand (half an hour or more).
	for work in digits fashion-mlp fashion-conv; do \
	  $(BIN)/python -m benchmarks.studies --work $$work --data-root $(DATA_ROOT) || exit 1; done

clean:  ## Remove .venv and caches; studies stay.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
