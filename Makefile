# Everything is installed into .venv in this folder, and only when pyproject.toml has
# changed. The interpreter that makes .venv:
PYTHON ?= python3
# Processes that run the tests.
WORKERS ?= 2

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Every runtime dependency at its lower bound. Those are built for Python 3.11 and 3.12.
OLDEST := build/oldest

# Each test worker computes on one core; more threads would only get in the way.
ONE_THREAD := OMP_NUM_THREADS=1 MPLBACKEND=agg
PYTEST := -m pytest --numprocesses $(WORKERS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo test test-one test-oldest lint format docs clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter (3.11 or later, default python3);"
	@echo "  WORKERS=4 runs the tests in four processes (default 2)."

install: .venv/.installed ## set up .venv; every other target does this by itself

demo: .venv/.installed ## clean and fine-tune on noisy digits: under a minute
	@$(PY) examples/demo.py

test: .venv/.installed ## run the whole test suite, the examples in docstrings and pages
	$(ONE_THREAD) $(PY) $(PYTEST) --doctest-modules --doctest-glob='*.rst' \
	sklearn_turn tests docs

test-one: .venv/.installed ## run one file or test in seconds: make test-one T=tests/noise
	@test -n "$(T)" || { echo "Which? make test-one T=tests/noise" >&2; exit 2; }
	$(ONE_THREAD) $(PY) -m pytest $(T)

test-oldest: $(OLDEST)/.installed ## run the test suite with every dependency at its lower bound
	$(ONE_THREAD) $(OLDEST)/bin/python $(PYTEST) tests

lint: .venv/.installed ## check style, formatting and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: .venv/.installed ## format the code and sort the imports
	$(PY) -m ruff check --fix --select I
	$(PY) -m ruff format

docs: .venv/.installed-docs ## build the documentation in docs/_build/html
	$(ONE_THREAD) $(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

clean: ## remove what was built, but not .venv
	rm -rf build dist demo-output docs/_build docs/api/generated docs/gallery
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	find sklearn_turn tests benchmarks examples docs -name __pycache__ -prune \
	-exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove .venv as well
	rm -rf .venv

# A virtual environment that was left half-made has no working pip.
.venv/.installed: pyproject.toml
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { \
	echo "sklearn-turn needs Python 3.11 or later; '$(PYTHON)' is older or missing."; \
	echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; } >&2; \
	echo "Making a virtual environment in .venv"; \
	$(PYTHON) -m venv --clear .venv || { \
	echo "No virtual environment: on Debian and Ubuntu, install python3-venv." >&2; \
	exit 1; }; }
	@echo "Installing the dependencies into .venv: some minutes and gigabytes, once"
	@$(PIP) install --quiet --editable '.[plots,tests]'
	@touch $@

.venv/.installed-docs: .venv/.installed
	@echo "Installing the documentation's dependencies into .venv"
	@$(PIP) install --quiet --editable '.[docs]'
	@touch $@

# Later pyarrow and transformers, which the tests use, need NumPy 2 and PyTorch 2.6 and do
# not declare it.
$(OLDEST)/.installed: pyproject.toml
	@echo "Installing the oldest dependencies into $(OLDEST): some minutes and gigabytes"
	@$(PYTHON) -m venv --clear $(OLDEST)
	@$(OLDEST)/bin/python -c "import tomllib; \
	project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	bounds = '\n'.join(project['dependencies']).replace('>=', '=='); \
	print(bounds, 'pyarrow<22', 'transformers<5', sep='\n')" > $(OLDEST)/constraints.txt
	@$(OLDEST)/bin/python -m pip --disable-pip-version-check install --quiet \
	--constraint $(OLDEST)/constraints.txt --editable '.[plots,tests]'
	@touch $@
