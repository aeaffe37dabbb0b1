# `make demo` and `make test` set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-fast test-long test-kill lint docs notebooks clean

setup: $(STAMP)

$(STAMP): setup.cfg setup.py pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "esmm_jax needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

demo: setup
	$(RUN) -m experiments.demo --workdir=demo

# `worksteal` leaves the tests of a module, and what they share, to one worker.
test: setup
	$(RUN) -m pytest -n 2 --dist worksteal

test-fast: setup
	$(RUN) -m pytest -n 2 --dist worksteal -m 'not slow and not long'

# Ray, and a server of S3: without them, offline say, their tests are skipped.
# `make test` and `make test-fast` neither install nor need them.
CLUSTER := $(VENV)/.cluster
$(CLUSTER): $(STAMP)
	@ok=1; for extras in cluster,storage,test-cluster tune tracking; do \
	  $(RUN) -m pip install --quiet --disable-pip-version-check \
	    -e ".[test,$$extras]" || { ok=; \
	    echo "pip cannot install $$extras; tests that need it are skipped."; }; \
	done; test -z "$$ok" || touch $@

# With all optimizations of XLA, as users have them; says what is skipped.
test-long: $(CLUSTER)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(RUN) -m pytest -n 2 --dist worksteal \
	  -m long -rs
	@$(RUN) -c 'import importlib.util as u; print("The tests with Ray", "ran." if \
	  u.find_spec("ray") else "were SKIPPED: it is not installed.")'

# Many kills at random moments; says where they hit.
test-kill: setup
	ESMM_KILLS=50 $(RUN) -m pytest -s tests/training/test_killed.py -k random

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# The site in build/docs: the guides (mkdocs.yml), and the API in api/. A warning
# is an error, but for those of two annotations that classes of
# tensorflow-datasets bring along.
TFDS := ignore:Error parsing type annotation
# The package's __all__ would leave its modules out, so they are named.
MODULES := esmm_jax \
  $(patsubst esmm_jax/%/__init__.py,esmm_jax.%,$(wildcard esmm_jax/*/__init__.py)) \
  $(patsubst esmm_jax/%.py,esmm_jax.%,\
    $(filter-out %/__init__.py,$(wildcard esmm_jax/*.py)))
docs: setup
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet
	$(RUN) -W error -W '$(TFDS) utils.VersionOrStr' \
	  -W '$(TFDS) list[utils.VersionOrStr]' \
	  -m pdoc --docformat google -o build/docs/api $(MODULES)

# Runs the notebooks and keeps what they print and draw.
notebooks: setup
	$(RUN) -m colab.execute colab/*.ipynb

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .ruff_cache .mypy_cache \
	  .hypothesis
