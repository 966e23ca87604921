# Every check and test by name. Each stage has its own time limit, so that a hang is named and not waited out.
SHELL := /bin/bash
.SHELLFLAGS := -Eeuo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := check
MAKEFLAGS += --no-print-directory

# The Python environment: made by ./nightshift when it is missing. Asked once, and only by targets that need it.
VENV ?= $(eval VENV := $(shell ./nightshift venv))$(VENV)
BIN = $(VENV)/bin
export PYTHONPATH := $(CURDIR)/plugins:$(CURDIR)/lab:$(CURDIR)/tools
export PYTHONDONTWRITEBYTECODE := 1

# limit SECONDS COMMAND…: ends it with TERM, then KILL, and says so.
limit = timeout --kill-after=15 $(1)
PYTEST = $(BIN)/python -m pytest
PYTHON_SOURCES = $(wildcard dags plugins lab tools tests include/airflow)
SCRIPT_TESTS = tests/scripts
# Played with the unit tests, so that the model keeps up with the product; not again with the ten thousand.
ONE_NIGHT = tests/simulation/test_one_night.py
# Those of domain/ that are timed, or try many examples of what others cover: without coverage, and apart, because in
# xdist's workers pytest-cov's own no_cover has no effect (each has two measurements at once, and it pauses one).
UNCOVERED = $(shell grep -ls no_cover tests/unit/domain/*.py)
OTHER_UNIT_TESTS = $(filter-out tests/unit/domain %/__pycache__,$(wildcard tests/unit/*)) tests/lab_unit $(ONE_NIGHT)
SHELL_SOURCES = nightshift .ci/run $(shell git ls-files 'include/scripts/*' 'lab/bench/*' 'lab/*.sh' 'lab/nslab/*/files/*' 'tests/lab/docker/*' | xargs -r grep -lE '^\#!.*\b(ba)?sh\b')

.PHONY: help check format lock types imports shell unit unit-domain unit-others scripts simulation test test-airflow test-lab lab-full lab-status chaos bench bench-facts diagnose-score

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

check: ## Static checks and unit tests (< 2 min); what takes longer is in the other targets.
	@echo "using $(VENV)"
	$(call limit,60) $(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(call limit,60) $(BIN)/ruff check $(PYTHON_SOURCES)
	$(MAKE) -j3 --output-sync types imports shell unit-domain unit-others VENV=$(VENV) # many tests wait: two sets of them fill both cores

format: ## Write the formatter's opinion into the files.
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)

types: ## mypy, strict; what it knows lies beside the programs it was told by, for all checkouts.
	$(call limit,180) $(BIN)/mypy --cache-dir $(VENV)/mypy-cache

imports: ## The layers of docs/architecture.md.
	$(call limit,60) $(BIN)/lint-imports --config pyproject.toml

shell: ## shellcheck on everything that runs in a shell.
	$(call limit,180) shellcheck $(SHELL_SOURCES)

unit: unit-domain unit-others ## Unit tests.

# $(call unit-tests,ARGUMENTS). The directory is short: the tests' Unix sockets lie in it, and their paths end at 107 characters.
define unit-tests
(
temporary=$$(mktemp -d /tmp/ns-XXXX)
trap 'rm -rf "$$temporary"' EXIT
$(call limit,900) $(PYTEST) -q -n $$(nproc) --dist worksteal --basetemp="$$temporary" $(1)
)
endef

unit-domain: ## Unit tests of domain/ with their branch coverage, which no other test may add to.
	$(call unit-tests,tests/unit/domain -m "not no_cover" --cov --cov-report=)
	$(BIN)/coverage report --fail-under=95
	$(call unit-tests,-m no_cover $(UNCOVERED))

unit-others: ## All other unit tests, and one simulated night.
	$(call unit-tests,$(OTHER_UNIT_TESTS))

scripts: ## What runs on nodes, as real processes in a directory of its own (minutes: they start thousands and wait for some).
	temporary=$$(mktemp -d /tmp/ns-XXXX) # short, as for unit
	trap 'rm -rf "$$temporary"' EXIT
	$(call limit,1200) $(PYTEST) -q -n $$(nproc) --dist worksteal --basetemp="$$temporary" $(SCRIPT_TESTS)

simulation: ## 10,000 seeded nights with faults in virtual time, and the mutants they must find (docs/safety.md).
	$(call limit,1500) $(PYTEST) -q tests/simulation --ignore=$(ONE_NIGHT)

test-airflow: ## DAG shape, parse cost, operators and policies (no lab needed).
	$(call limit,2400) $(PYTEST) -q -n $$(nproc) tests/airflow

test-lab: ## The lab cases every change runs (builds the lab when nothing is cached).
	$(call limit,4200) $(PYTEST) tests/lab -m ci

test: ## What the README calls the test command.
	$(MAKE) check VENV=$(VENV)
	$(MAKE) scripts VENV=$(VENV)
	$(MAKE) simulation VENV=$(VENV)
	$(MAKE) test-airflow VENV=$(VENV)
	$(MAKE) test-lab VENV=$(VENV)

lab-full: ## Every lab case but those of `make chaos`; leaves out what passed on this code (tests/lab/results.json).
	$(PYTEST) tests/lab -m "not chaos" --record --resume

lab-status: ## How far `make lab-full` is: per module what passed on this code or on older, what failed, what never ran.
	$(PYTEST) -q tests/lab -m "not chaos" --lab-status

chaos: ## Kill Airflow and the lab's cluster at every moment of a night (about 3 hours, resumes; see docs/safety.md).
	$(BIN)/python lab/chaos/run.py

bench: ## The DAG against the same upgrade as one bash script, on the lab that is up (takes hours).
	$(BIN)/python lab/bench/compare.py

bench-facts: ## A round of all gates on a made-up cluster of 1,000 nodes and 10,000 pods: seconds, memory, requests.
	$(BIN)/python lab/bench/facts_scale.py

diagnose-score: ## What the diagnosis makes of the corpus of incidents: top-1, top-3, confident and wrong, unknown, per cause.
	$(call limit,120) $(BIN)/python -m nscorpus.score

lock: ## Compile requirements*.in into pinned requirements*.txt with hashes.
	for name in requirements requirements-dev; do
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --custom-compile-command "make lock" "$$name.in" -o "$$name.txt"
	done
