# First call: makes .venv (some minutes). Later calls start at once, until pyproject.toml or constraints.txt change.
#   make up CONFIG=configs/other.yaml ARGS="until.time=60s"      make test PYTEST_ARGS="-k codec"      make PYTHON=python3.12 setup

PYTHON ?= python3
CONFIG ?= configs/4agents_ring.yaml
ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= auto
BENCH ?= remote_stepping averaging threads footprint

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

.PHONY: help up test test-runs test-learning test-benchmarks test-slow test-engines test-wheel lint format docs site bench setup constraints clean-env
.DEFAULT_GOAL := help

help:
	@echo "make up         environment, then the run of $(CONFIG) to its end"
	@echo "make test       environment with the test extra, then all quick tests"
	@echo "make test-runs  the longer tests of whole runs; CI runs them too"
	@echo "make test-learning  the slow tests of what agents learn; CI runs them too"
	@echo "make test-benchmarks  the quick form of every benchmark, one after the other; CI runs them too"
	@echo "make test-slow  the slow tests only"
	@echo "make test-engines  tests of launch engines on several hosts; without root, ssh, Slurm or Ray those that need it are skipped"
	@echo "make test-wheel  build the wheel, install it into an empty environment, and run the commands of README.md there"
	@echo "make lint       ruff, mypy, and the words of scripts/word_list.toml"
	@echo "make format     let ruff format and sort imports"
	@echo "make docs       write docs/reference/messages.md from the code"
	@echo "make site       the documentation site in site/, with every link checked"
	@echo "make bench      benchmarks of speed and memory (BENCH=main_configuration: what is learnt, half an hour)"
	@echo "make setup      environment only"
	@echo "make clean-env  remove the environment"

up: setup
	$(BIN)/orchestrate up $(CONFIG) $(ARGS)

test:
	@$(PYTHON) scripts/setup_env.py --extras test
	$(PYTEST) -m "not slow and not engines and not runs and not benchmarks" $(PYTEST_ARGS)

test-runs:
	@$(PYTHON) scripts/setup_env.py --extras test
	$(PYTEST) -m "runs and not slow" $(PYTEST_ARGS)

test-learning:
	@$(PYTHON) scripts/setup_env.py --extras test
	$(PYTEST) -m slow tests/learning $(PYTEST_ARGS)

test-benchmarks:
	@$(PYTHON) scripts/setup_env.py --extras test
	$(BIN)/python -m pytest -m benchmarks tests/benchmarks $(PYTEST_ARGS)

test-slow:
	@$(PYTHON) scripts/setup_env.py --extras test
	$(PYTEST) -m slow $(PYTEST_ARGS)

test-engines:
	@$(PYTHON) scripts/setup_env.py --extras test,ray || $(PYTHON) scripts/setup_env.py --extras test
	$(PYTEST) -m "engines and not slow" tests/engines $(PYTEST_ARGS)

test-wheel:
	@$(PYTHON) scripts/setup_env.py --extras test
	$(BIN)/python scripts/check_wheel.py

lint:
	@$(PYTHON) scripts/setup_env.py --extras dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python scripts/check_language.py

format:
	@$(PYTHON) scripts/setup_env.py --extras dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup
	$(BIN)/python scripts/messages_page.py

site:
	@$(PYTHON) scripts/setup_env.py --extras docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	@set -e; for name in $(BENCH); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(ARGS); done

setup:
	@$(PYTHON) scripts/setup_env.py

constraints:
	(sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip \
		| sed 's/+.*$$//' | LC_ALL=C sort -f) > constraints.new
	mv constraints.new constraints.txt

clean-env:
	rm -rf .venv
