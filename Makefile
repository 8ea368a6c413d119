# Every target does its own set-up; `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .bench-venv
OLDEST_VENV := .oldest-venv

.PHONY: help run test lint types imports unit oldest chaos docs bench soak format clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

run: $(VENV)/ready  ## run the example workflows, on threads and then on an embedded Dask cluster
	$(BIN)/python examples/async_workflows.py
	$(BIN)/python examples/async_workflows_dask.py
	cd $$(mktemp -d) && $(CURDIR)/$(BIN)/python $(CURDIR)/examples/files.py
	$(BIN)/python examples/resume.py

test: lint types imports unit docs  ## everything that CI checks

lint: $(VENV)/ready  ## style and likely mistakes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/ready  ## mypy, strict on src/
	$(BIN)/mypy

imports: $(VENV)/ready  ## which way the arrows run
	$(BIN)/lint-imports

unit: $(VENV)/ready  ## the test suite
	ci/slurm/install
	ci/browser/install
	$(BIN)/pytest -n 2 --dist worksteal $(PYTEST)

oldest: $(OLDEST_VENV)/ready  ## the test suite with the oldest dask that is promised
	$(OLDEST_VENV)/bin/pytest -n 2 --dist worksteal -q $(PYTEST)

chaos: $(VENV)/ready  ## random graphs under random faults; SEED=17 the first seed, SEEDS=20 how many
	ci/slurm/install
	PYTHONPATH=tests $(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(CHAOS)

docs: $(VENV)/ready  ## build the documentation, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(BENCH_VENV)/ready  ## measure against hand-written Dask and the neighbours
	$(BENCH_VENV)/bin/python benchmarks/bench.py --markdown docs/benchmarks.md $(BENCH)

soak: $(BENCH_VENV)/ready  ## 200,000 short tasks in one engine, and what they leave in memory
	$(BENCH_VENV)/bin/python benchmarks/soak.py --markdown docs/soak.md --plot docs/images/soak.svg $(SOAK)

format: $(VENV)/ready  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(BENCH_VENV) $(OLDEST_VENV) site build dist

$(VENV)/ready: pyproject.toml setup.cfg ci/venv
	ci/venv $(VENV) -e '.[dev]'

$(BENCH_VENV)/ready: pyproject.toml setup.cfg ci/venv benchmarks/requirements.txt
	ci/venv $(BENCH_VENV) -e . -r benchmarks/requirements.txt

$(OLDEST_VENV)/ready: pyproject.toml setup.cfg ci/venv ci/oldest.txt
	ci/venv $(OLDEST_VENV) -e '.[dev]' -r ci/oldest.txt
