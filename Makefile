# make demo    from nothing to a trained, evaluated and exported recommender
# make test    the test suite without its slow tests
# make test-slow  the slow tests; continuous integration runs both
# make lint    ruff and mypy
# make build   BUILD files that match the sources
# make docs    the documentation site, in docs/site
# make setup   .venv alone, from the locked requirements.txt
# make clean   removes .venv, runs/demo and caches
#
# PYTHON=/path/to/python3.12 picks the interpreter that .venv is made of (3.11, 3.12 or 3.13;
# by default the first of these that runs). WORKERS=4 sets the test processes. MARKS= runs the slow
# and the exhaustive tests too: every method in every simulator, every script as a process, the
# demo at a small size.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install --no-deps
WORKERS ?= 2
MARKS ?= not slow and not exhaustive
PYTHON ?=

.PHONY: help setup demo test test-slow lint build docs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

setup: $(VENV)/.setup

demo: $(VENV)/.setup
	$(RUN) -m launch.demo --out=runs/demo

# One TensorFlow thread for each worker: more only make them wait for each other. A file's
# tests stay on one worker, in order, so that what they share is built once. A worker keeps the
# compiled graphs of all its tests, so each group of folders has workers of its own. pytest
# exits with 2 where it is interrupted and with 5 where a group has no test of these marks.
METHOD_TESTS := tests/contracts tests/learning tests/reliability
OTHER_TESTS := tests $(addprefix --ignore=,tests/launch $(METHOD_TESTS))
test: $(VENV)/.setup-dev
	@export TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1; \
	status=5; \
	for group in $(if $(TESTS),"$(TESTS)",tests/launch "$(METHOD_TESTS)" "$(OTHER_TESTS)"); do \
	    code=0; \
	    $(RUN) -m pytest -n $(WORKERS) --dist=loadfile -m "$(MARKS)" --durations=20 $$group \
	        || code=$$?; \
	    if [ $$code = 2 ]; then exit 2; fi; \
	    if [ $$code != 5 ] && [ $$status != 1 ]; then status=$$((code != 0)); fi; \
	done; \
	exit $$status

test-slow:
	@$(MAKE) --no-print-directory test MARKS="slow and not exhaustive"

lint: $(VENV)/.setup-dev
	$(RUN) -m ruff check .
	$(RUN) -m mypy

build: $(VENV)/.setup-dev
	$(RUN) tests/fix_build.py

# The site's tools get an environment of their own: they read the sources and import none.
docs: .venv-docs/.setup
	.venv-docs/bin/python -m sphinx -q -W --keep-going -b html docs docs/site

clean:
	rm -rf $(VENV) .venv-docs docs/site docs/reference runs/demo .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each candidate is run, not only looked up: a version manager's shim can be on the path
# with no interpreter behind it.
$(VENV)/.setup: requirements.txt
	@check='import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))'; \
	for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
	    if "$$python" -c "$$check" >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found-}" ]; then \
	    echo "No Python 3.11, 3.12 or 3.13 with venv and pip runs here (tried: $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python))." >&2; \
	    echo "Install one (on Debian or Ubuntu also its -venv package), or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version) ($$found)"; \
	"$$found" -m venv --clear $(VENV)
	$(PIP) -r requirements.txt
	@touch $@

.venv-docs/.setup: $(VENV)/.setup requirements-docs.txt
	$(RUN) -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check install --no-deps -r requirements-docs.txt
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@
