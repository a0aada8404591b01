# make demo   light environment in .venv (no torch), then the main job on the bundled photographs
# make test   development environment in .venv-dev, then the tests
# make test-exports   every export runtime in .venv-exports (5 GB), then the tests of all formats
PYTHON ?= python3
PIP_INSTALL = install --quiet --disable-pip-version-check --constraint constraints.txt
LIGHT = .venv/.installed
DEV = .venv-dev/.installed
# one thread per test process: the tests run in as many processes as there are cores
PYTEST = OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest

EXPORTS = .venv-exports/.installed
EXPORTS_INSTALL = .venv-exports/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-exports.txt

.PHONY: demo test test-slow test-exports check clean

$(LIGHT): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip $(PIP_INSTALL) --editable .
	touch $@

$(DEV): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip $(PIP_INSTALL) torch==2.13.0
	.venv-dev/bin/python -m pip $(PIP_INSTALL) --editable '.[dev]'
	touch $@

# tensorflowjs asks for old versions of what is here, and runs well without; node is for TF.js and the browser
$(EXPORTS): pyproject.toml constraints-exports.txt tests/exports/package.json
	$(PYTHON) -m venv .venv-exports
	$(EXPORTS_INSTALL) torch==2.13.0
	$(EXPORTS_INSTALL) --editable '.[train,faces,exports]' pytest pytest-timeout pytest-xdist
	$(EXPORTS_INSTALL) --no-deps tensorflowjs
	cd tests/exports && npm ci --ignore-scripts --no-audit --no-fund || echo "no Node modules: TF.js and the browser go untested"
	touch $@

# MODEL=file runs another model than the bundled one
demo: $(LIGHT)
	.venv/bin/yolo pose predict $(if $(MODEL),model=$(MODEL)) source="yolopose/assets/samples/images/*/*.jpg" project=runs name=demo exist_ok=True

test: $(DEV)
	$(PYTEST) -n auto

test-slow: $(DEV)
	$(PYTEST) -n auto -m slow

test-exports: $(EXPORTS)
	OMP_NUM_THREADS=1 .venv-exports/bin/python -m pytest -p no:anyio -n auto --dist loadfile -m exports tests/exports

check: $(DEV)
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports

clean:
	rm -rf .venv .venv-dev .venv-exports tests/exports/node_modules build dist runs *.egg-info
