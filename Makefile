# make demo   light environment in .venv (no torch), then the main job on the bundled photographs
# make test   development environment in .venv-dev, then the tests
PYTHON ?= python3
PIP_INSTALL = install --quiet --disable-pip-version-check --constraint constraints.txt
LIGHT = .venv/.installed
DEV = .venv-dev/.installed
# one thread per test process: the tests run in as many processes as there are cores
PYTEST = OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest

.PHONY: demo test test-slow check bench clean

$(LIGHT): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip $(PIP_INSTALL) --editable .
	touch $@

$(DEV): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip $(PIP_INSTALL) torch==2.13.0
	.venv-dev/bin/python -m pip $(PIP_INSTALL) --editable '.[dev]'
	touch $@

# MODEL=file runs another model than the bundled one
demo: $(LIGHT)
	.venv/bin/yolo pose predict $(if $(MODEL),model=$(MODEL)) source="yolopose/assets/samples/images/*/*.jpg" project=runs name=demo exist_ok=True

test: $(DEV)
	$(PYTEST) -n auto

test-slow: $(DEV)
	$(PYTEST) -n auto -m slow

check: $(DEV)
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports

clean:
	rm -rf .venv .venv-dev build dist runs *.egg-info
