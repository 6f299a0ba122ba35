# Needs Python 3.10 or later, make and a package index. Every target can be interrupted and run again.
#   make demo       set up, then the whole workflow on generated data: supervised against CRLN (7 to 10 CPU minutes)
#                   make demo FAST=1: about 3 CPU minutes, to see the workflow
#   make test       set up, then all tests (12 to 15 minutes on 2 idle cores)
#   make test-fast  set up, then the unit tests that are not marked slow (about a minute)
#   make lint       set up, then ruff, codespell and mypy
#   make clean      remove what these made

PYTHON ?= python3
VENV ?= .venv
DEMO_OUTPUT ?= demo_output
FAST ?=
DEMO_ARGUMENTS ?=
PYTEST_ARGUMENTS ?=

BIN := $(VENV)/bin
# One mark for each set of packages; written last, so that an interrupted installation is taken up again.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed_dev
SOURCES_OF_INSTALLATION := pyproject.toml $(wildcard startup/*)

.PHONY: demo test test-fast lint install install-dev clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n '2,7s/^#   //p' Makefile

demo: $(INSTALLED)
	$(BIN)/nnUNetv2_crln_demo -o $(DEMO_OUTPUT) $(if $(FAST),--fast) $(DEMO_ARGUMENTS)

# One process for each core, with one thread each: the tests are small. Files stay whole, because tests of a file share
# what they prepare; in the order of their names the long ones (end_to_end, integration) start first.
IN_PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(INSTALLED_DEV)
	$(IN_PARALLEL) $(PYTEST_ARGUMENTS)

test-fast: $(INSTALLED_DEV)
	$(IN_PARALLEL) tests/unit -m "not slow" $(PYTEST_ARGUMENTS)

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

install: $(INSTALLED)

install-dev: $(INSTALLED_DEV)

$(INSTALLED): $(SOURCES_OF_INSTALLATION)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is missing or older than Python 3.10. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV): several gigabytes and minutes the first time"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Making a virtual environment failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
