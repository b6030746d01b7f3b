# `make help` lists the targets. Everything happens in .venv, from hashed lock files; stamps keyed on their content
# make a second run start at once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
# Tests wait for one another's processes, so there are more of them at once than processors.
JOBS ?= $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))
LONG_SHARE ?= 1
ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --progress-bar off
SUM := sha256sum requirements-demo.lock requirements-test.lock pyproject.toml .ci/python
STAMP := $(VENV)/.$(firstword $(shell $(SUM) | sha256sum | cut -c 1-16))

export PYTHON
# Tests start hundreds of processes: without byte code on disk each of them compiles all of sds anew, a sixth of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-test demo test test-long lint format types bench lock proto vendor docs clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP).setup ## .venv with sds and what its demo needs

setup-test: $(STAMP).test

$(STAMP).setup: 
	@.ci/python $(VENV)
	@echo "setup: installing locked requirements into $(VENV)"
	@$(PIP) --require-hashes -r requirements-demo.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.*.setup && touch $@

# The test lock holds everything that the demo lock does, at the same versions.
$(STAMP).test:
	@.ci/python $(VENV)
	@echo "setup: installing locked requirements, tests included, into $(VENV)"
	@$(PIP) --require-hashes -r requirements-test.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.*.setup $(VENV)/.*.test && touch $(STAMP).setup $@

demo: setup ## Two real Envoys whose certificates rotate under traffic; ARGS="--rotations 5 --json"
	@$(BIN)/sds demo $(ARGS)

test: lint types ## Lint, types, import contracts and all tests but the long ones; ARGS=tests/unit
	@.ci/debian
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

# The second Vault's tests wait more than they work, and may share the processor; the long ones measure, and may not.
# Status 5 is pytest's word for "no such tests", where there is no second Vault.
test-long: setup-test ## The long tests; LONG_SHARE=0.1 runs a tenth of their rounds
	@.ci/debian
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m second_vault $(ARGS) || [ $$? = 5 ]
	SDS_LONG_SHARE=$(LONG_SHARE) $(BIN)/python -m pytest -m 'slow and not second_vault' $(ARGS) || [ $$? = 5 ]

lint: setup-test ## Style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup-test ## mypy --strict
	$(BIN)/mypy

format: setup-test ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-test ## The benchmarks of benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.fanout --streams 10000
	$(BIN)/python -m benchmarks.issue
	$(BIN)/python -m benchmarks.propagate
	$(BIN)/python -m benchmarks.herd
	$(BIN)/python -m benchmarks.revoke
	$(BIN)/python -m benchmarks.secret
	$(BIN)/python -m benchmarks.admin

lock: setup-test ## Write the lock files anew from pyproject.toml (UPGRADE=1: newest versions)
	@.ci/lock $(BIN) $(UPGRADE)

proto: setup-test ## Write sds/_pb anew from proto/
	@.ci/proto $(BIN)/python .

vendor: ## Fetch htmx and axe-core anew, at the versions and hashes of .ci/vendor
	@.ci/vendor

clean: ## Remove everything that was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
