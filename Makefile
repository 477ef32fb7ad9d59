# Everything a clone needs: `make serve` runs the product, `make test` tests it. Needs Python 3.11 with venv, and make.
# Installs the hash-locked requirements/ into .venv: by uv when it is there, else by pip alone.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# The servers that tests start must not compile all of Headgate anew each time, so bytecode is kept whatever is set.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
# Many tests wait for servers, so three at a time keep two cores busy; a file's tests stay in one process, and those of some
# folders (tests/support/spread.py). Files go in their order, as the long ones have few tests and would come last, alone.
JOBS   ?= 3
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder
UV     := $(shell command -v uv 2>/dev/null)

pip_install = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1)
ifeq ($(UV),)
install = $(pip_install)
else
# uv does not read pip's configuration (a company's index, its certificates), so pip has the last word.
install = $(UV) pip install --quiet --python $(BIN)/python $(1) || $(pip_install)
endif

.DEFAULT_GOAL := help
.PHONY: help serve test test-all check format docs wheel reliability bench conformance locks clean

help:  ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve  ## Start the gateway with its demo provider on http://127.0.0.1:4400
	$(BIN)/headgate serve --demo

test: $(VENV)/.dev  ## The tests, without the slow ones
	$(PYTEST) $(SPREAD) -m "not slow"

test-all: $(VENV)/.dev  ## All tests, the slow ones too: with the openai package 2.x, long fuzzing
	$(PYTEST) $(SPREAD)

check: $(VENV)/.dev  ## Format, lint, types, floors, and whether the generated reference is up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) tests/test_architecture.py
	$(BIN)/python scripts/reference.py --check

format: $(VENV)/.dev  ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## Write docs/reference from the code
	$(BIN)/python scripts/reference.py

wheel: $(VENV)/.dev  ## Build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

reliability: $(VENV)/.dev  ## Kill, fill, cut and overload running servers; print what was lost: see docs/reliability.md
	PYTHONPATH=tests $(BIN)/python -m faults.reliability $(RELIABILITY)

bench: $(VENV)/.dev  ## Measure Headgate beside direct calls and other gateways
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/models.py

conformance: $(VENV)/.dev  ## Print what shows that the relay cannot be told from the upstream, point by point
	$(BIN)/python scripts/conformance.py

locks:  ## Write requirements/*.lock anew from pyproject.toml (needs uv)
	sh scripts/locks.sh

clean:  ## Remove everything that was made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Headgate needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || { echo "Python's venv is missing. On Debian: apt install python3-venv"; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# --no-build-isolation: the build tools come from the lock as well. --no-deps: what the lock lacks must fail.
$(VENV)/.serve: $(VENV)/.made requirements/base.lock requirements/models.lock requirements/build.lock pyproject.toml
	$(call install,--require-hashes -r requirements/base.lock -r requirements/models.lock -r requirements/build.lock)
	$(call install,--no-deps --no-build-isolation --editable .)
	@touch $@

$(VENV)/.dev: $(VENV)/.serve requirements/dev.lock
	$(call install,--require-hashes -r requirements/dev.lock)
	@touch $@
