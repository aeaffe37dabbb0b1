# `make demo` and `make test` set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-fast test-long test-kill lint clean

setup: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "esmm_jax needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

demo: setup
	$(RUN) -m experiments.demo --workdir=demo

test: setup
	$(RUN) -m pytest -n 2

test-fast: setup
	$(RUN) -m pytest -n 2 -m 'not slow and not long'

test-long: setup
	$(RUN) -m pytest -n 2 -m long

# Many kills at random moments; says where they hit.
test-kill: setup
	ESMM_KILLS=50 $(RUN) -m pytest -s tests/test_killed.py -k random

lint: setup
	$(RUN) -m ruff check .

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache .hypothesis
