# Everything is installed into .venv in this folder, and only when pyproject.toml has
# changed. The interpreter that makes .venv:
PYTHON ?= python3
# Processes that run the tests.
WORKERS ?= 2

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# The oldest supported scikit-learn, with the SciPy and NumPy of its time: later ones no
# longer have all that it uses.
OLDEST_SKLEARN := 1.6
OLDEST_STACK := 'scikit-learn==$(OLDEST_SKLEARN).*' 'scipy==1.15.*' 'numpy==2.2.*'
OLDEST := build/sklearn-$(OLDEST_SKLEARN)

# Each test worker computes on one core; more threads would only get in the way.
PYTEST := OMP_NUM_THREADS=1 MPLBACKEND=agg $(PY) -m pytest --numprocesses $(WORKERS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo test test-oldest lint format docs clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter (3.11 or later, default python3);"
	@echo "  WORKERS=4 runs the tests in four processes (default 2)."

install: .venv/.installed ## set up .venv; every other target does this by itself

demo: .venv/.installed ## clean and fine-tune on noisy digits: under a minute
	@$(PY) examples/demo.py

test: .venv/.installed ## run the whole test suite and the examples in the docstrings
	$(PYTEST) --doctest-modules sklearn_turn tests docs/quickstart.rst docs/inputs.rst

test-oldest: $(OLDEST)/.installed ## run scikit-learn's estimator checks on its oldest supported release
	@PYTHONPATH="$(CURDIR)/$(OLDEST)" $(PY) -c "import sklearn, sys; \
	print('scikit-learn', sklearn.__version__, 'in', sklearn.__path__[0]); \
	sys.exit(not sklearn.__version__.startswith('$(OLDEST_SKLEARN).'))"
	PYTHONPATH="$(CURDIR)/$(OLDEST)" $(PYTEST) tests/test_common.py

lint: .venv/.installed ## check style, formatting and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: .venv/.installed ## format the code and sort the imports
	$(PY) -m ruff check --fix --select I
	$(PY) -m ruff format

docs: .venv/.installed-docs ## build the documentation in docs/_build/html
	$(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

clean: ## remove what was built, but not .venv
	rm -rf build dist demo-output docs/_build docs/api/generated
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

$(OLDEST)/.installed: .venv/.installed
	@echo "Installing scikit-learn $(OLDEST_SKLEARN) into $(OLDEST)"
	@rm -rf $(OLDEST)
	@$(PIP) install --quiet --no-deps --only-binary :all: --target $(OLDEST) \
	$(OLDEST_STACK)
	@touch $@
