# Everything runs inside .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help start test test-slow lint types bench clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: setup.cfg pyproject.toml broker/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit("the broker needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

start: $(VENV)/.installed ## start the broker in the foreground (ARGS='--lang en' passes options)
	@exec $(BIN)/broker start $(ARGS)

test: $(VENV)/.installed-dev ## run the tests (under 5 minutes)
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-slow: $(VENV)/.installed-dev ## run the long tests
	$(BIN)/python -m pytest -m slow --timeout 900 $(ARGS)

lint: $(VENV)/.installed-dev ## check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## check types with mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.installed ## measure side by side with other servers (ARGS=--quick looks)
	$(BIN)/python -m benchmarks.suite $(ARGS)

clean: ## remove what the targets above made
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
