# Everything is set up on first use: a virtual environment, the packages locked in tests/setup/locks, and the servers for
# the tests.
# Needs make and Python 3.11 or newer. PYTHON=... chooses another interpreter.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
ARGS ?=
# `tests/conftest.py` sets the number of processes and the order; a file's tests run together and share its servers.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo demo-walk test fast gate screens bench lint format catalogs lock sync clean python env-demo env-dev

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: env-demo  ## run an example platform with everything it needs, on loopback
	@PYTHONPATH=examples exec $(BIN)/python -m demo $(ARGS)

demo-walk: env-demo  ## run through the demo unattended, and check the result
	@PYTHONPATH=examples exec $(BIN)/python -m demo --walk $(ARGS)

test: env-dev  ## run all tests; ARGS="-k name" goes to pytest
	@$(PYTHON) tests/setup/servers.py
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

fast: env-dev  ## run the tests that need only Redis
	$(BIN)/python -m pytest $(PARALLEL) -m "not servers and not browser and not gate and not slow" $(ARGS)

gate: env-dev  ## run the crash gate at full size
	@$(PYTHON) tests/setup/servers.py
	$(BIN)/python -m pytest tests/delivery/test_gate.py --full-gate $(ARGS)

screens: env-dev  ## take a picture of every page into screenshots/
	@$(PYTHON) tests/setup/servers.py
	PYTHONPATH=.:examples $(BIN)/python tests/screens.py $(ARGS)

bench: env-dev  ## measure the speed, and that of its peers
	@$(PYTHON) tests/setup/servers.py
	PYTHONPATH=.:examples $(BIN)/python -m benchmarks $(ARGS)

lint: env-dev  ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p own_smtp $(foreach package,$(notdir $(patsubst %/,%,$(dir $(wildcard examples/*/__init__.py)))),-p $(package))
	$(BIN)/lint-imports

format: env-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

catalogs: env-dev  ## update the translation catalogues, and compile them
	@mkdir -p build
	$(BIN)/pybabel -q extract -F pyproject.toml -k lazy_gettext -k tr -k ntr:1,2 --no-location -o build/own_smtp.pot .
	$(BIN)/pybabel -q update -D own_smtp -i build/own_smtp.pot -d plugin/translations --ignore-obsolete --no-fuzzy-matching --no-wrap
	$(BIN)/pybabel -q compile -D own_smtp -d plugin/translations

lock: env-dev  ## update the locked versions; ARGS="--upgrade-package flask" updates one of them
	@$(BIN)/python tests/setup/lock.py renew $(ARGS)
	@$(PYTHON) tests/setup/environment.py dev

sync: python  ## update the virtual environment after files were added, renamed or deleted
	@$(PYTHON) tests/setup/environment.py --sync

clean:  ## delete everything that make created
	rm -rf .venv build dist .demo screenshots *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

env-demo: python
	@$(PYTHON) tests/setup/environment.py demo

env-dev: python
	@$(PYTHON) tests/setup/environment.py dev

python:
	@test -n "$(PYTHON)" || { echo "Own SMTP needs Python 3.11 or newer, and none is on the PATH. Install it, or run make PYTHON=/path/to/python3." >&2; exit 1; }
