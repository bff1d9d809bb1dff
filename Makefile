# What the README tells a user to type, and what CI runs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: help install format check test demo compose-test sbom offline-bundle bench fuzz faults clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed  ## make .venv from the lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fedcxr needs Python 3.11 or newer: set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

format: install  ## rewrite the code in house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: install  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install  ## every test, on two processors
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

demo: install  ## three hospitals train one model on this machine
	$(BIN)/fedcxr simulate configs/demo.yaml

compose-test:  ## a coordinator and three hospitals in containers, one of them lost and found
	@PYTHON=$(PYTHON) containers/compose_test.sh

sbom: install  ## every part of an installation, as CycloneDX
	$(BIN)/python deploy/sbom.py requirements.lock out/sbom.json

offline-bundle: install  ## one file from which a machine without a network is installed
	PYTHON=$(BIN)/python containers/wheels.sh wheels
	rm -f wheels/fedcxr-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels .
	PYTHON=$(BIN)/python deploy/offline/bundle.sh wheels out

CUTS := $(foreach place,asking fetching leaving,$(foreach seconds,5 60 300,$(place):$(seconds)))
comma := ,
space := $(subst ,, )

faults: install  ## kill, cut, corrupt and fill up real federations, and kill an ingest, at many moments
	FEDCXR_FAULT_SEEDS=10 FEDCXR_ALL_FAULTS=1 FEDCXR_CUTS=$(subst $(space),$(comma),$(CUTS)) $(BIN)/pytest tests/faults
	FEDCXR_CUTS= FEDCXR_CUT_MODEL=small $(BIN)/pytest tests/faults/test_faults_network.py
	FEDCXR_KILL_EVERY=1 $(BIN)/pytest tests/test_client_intake_ingest_killed.py

bench: install  ## ratios, measured in one run
	OMP_NUM_THREADS=1 $(BIN)/python bench/model_step.py tiny 64 16
	OMP_NUM_THREADS=1 $(BIN)/python bench/model_step.py small 256 8
	OMP_NUM_THREADS=1 $(BIN)/python bench/xl_step.py 512
	OMP_NUM_THREADS=1 $(BIN)/python bench/dp.py small 256 8 3
	OMP_NUM_THREADS=1 $(BIN)/python bench/ingest.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/rules.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/blobs.py
	$(BIN)/python bench/flower_fedavg.py --size base --sites 2
	$(BIN)/python bench/rounds.py --sites 2 4
	$(BIN)/python bench/rounds.py --sites 16 --rank 16 --held-base
	$(BIN)/python bench/many_sites.py --sites 100 --rounds 20

fuzz: install  ## thousands of damaged files through the reader
	OMP_NUM_THREADS=1 $(BIN)/python bench/fuzz.py

clean:  ## remove what the targets above made
	rm -rf $(VENV) out wheels .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
