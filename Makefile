# make demo   light environment in .venv (no torch), then every bundled model on the bundled photographs
# make test   development environment in .venv-dev, then the tests (tests/test_network.py needs strace: apt-get install strace)
# make coverage   the tests of make test with coverage.py; lists the modules of which less than COVERED percent of the lines ran
# make test-clients   third-party programs in .venv-clients (with torch, 2.3 GB) and .venv-clients-light (without, 1.5 GB), then their tests
# make test-exports   every export runtime in .venv-exports (5 GB), then the tests of all formats
# make test-gpu   what exists only on a GPU, with a Python that has torch for CUDA (GPU_PYTHON=…); without one it says so and ends 0
# make test-oldest   the light install with the lowest versions that pyproject.toml promises, in .venv-oldest, then the tests that need no more
PYTHON ?= python3
GPU_PYTHON ?= $(firstword $(wildcard .venv-gpu/bin/python .venv-dev/bin/python) $(PYTHON))
PIP_INSTALL = install --quiet --disable-pip-version-check --constraint constraints.txt
PIP_CLIENTS = install --quiet --disable-pip-version-check --constraint
LIGHT = .venv/.installed
DEV = .venv-dev/.installed
COVERED = 90
# one thread per test process: the tests run in as many processes as there are cores
PYTEST = OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest

EXPORTS = .venv-exports/.installed
EXPORTS_INSTALL = .venv-exports/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-exports.txt

CLIENTS = .venv-clients/.installed
CLIENTS_LIGHT = .venv-clients-light/.installed
# what clients themselves deprecate is no fault of ours
CLIENT_TESTS = -m pytest -p no:anyio -m clients -W default -W error:::yolopose
EVERYWHERE = tests/clients/test_supervision.py tests/clients/test_norfair.py tests/clients/test_tables.py

OLDEST = .venv-oldest/.installed
OLDEST_TESTS = tests/config tests/data tests/evaluate tests/geometry tests/images tests/sources tests/test_bundled.py tests/test_cli.py \
  tests/test_errors.py tests/test_files.py tests/test_light.py tests/test_predict.py tests/results tests/test_saving.py tests/test_draw.py tests/track

.PHONY: demo test test-slow coverage test-clients test-oldest test-exports test-gpu check clean

$(LIGHT): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip $(PIP_INSTALL) --editable .
	touch $@

$(DEV): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python -m pip $(PIP_INSTALL) torch==2.13.0
	.venv-dev/bin/python -m pip $(PIP_INSTALL) --editable '.[dev]'
	touch $@

# Without their dependencies: trackers and sahi ask for opencv-python, which would lie over opencv-python-headless;
# norfair asks for NumPy 1 and rich < 15, and runs well with newer ones. fiftyone keeps the headless OpenCV below 5.
$(CLIENTS): pyproject.toml constraints-clients.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip $(PIP_CLIENTS) constraints-clients.txt torch==2.13.0
	.venv-clients/bin/python -m pip $(PIP_CLIENTS) constraints-clients.txt --editable . \
	  onnx supervision fiftyone pandas polars shapely fire 'filterpy<2' wandb mlflow-skinny pytest pytest-timeout
	.venv-clients/bin/python -m pip $(PIP_CLIENTS) constraints-clients.txt --no-deps trackers sahi norfair
	touch $@

$(CLIENTS_LIGHT): pyproject.toml constraints-clients-light.txt
	$(PYTHON) -m venv .venv-clients-light
	.venv-clients-light/bin/python -m pip $(PIP_CLIENTS) constraints-clients-light.txt --editable . \
	  supervision gradio streamlit pandas polars nbclient ipykernel 'filterpy<2' pytest pytest-timeout
	.venv-clients-light/bin/python -m pip $(PIP_CLIENTS) constraints-clients-light.txt --no-deps trackers norfair trackeval
	touch $@

# tensorflowjs asks for old versions of what is here, and runs well without; node is for TF.js and the browser
$(EXPORTS): pyproject.toml constraints-exports.txt tests/exports/package.json
	$(PYTHON) -m venv .venv-exports
	$(EXPORTS_INSTALL) torch==2.13.0
	$(EXPORTS_INSTALL) --editable '.[train,faces,exports]' pytest pytest-timeout pytest-xdist
	$(EXPORTS_INSTALL) --no-deps tensorflowjs
	cd tests/exports && npm ci --ignore-scripts --no-audit --no-fund || echo "no Node modules: TF.js and the browser go untested"
	touch $@

# MODEL=file runs another model than the bundled ones
demo: $(LIGHT)
	.venv/bin/python examples/demo.py $(MODEL)

test: $(DEV)
	$(PYTEST) -n auto

test-slow: $(DEV)
	$(PYTEST) -n auto -m slow

# also the lines that run in programs that tests start; .venv-dev/bin/coverage html shows which ones did not run
coverage: $(DEV)
	$(PYTEST) -n auto --cov --cov-report=
	@.venv-dev/bin/coverage report --sort=cover | awk '/^yolopose/ && $$NF + 0 < $(COVERED) || /^(Name|TOTAL)/'

$(OLDEST): pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt \
	  --editable . pytest pytest-timeout hypothesis
	touch $@

# tests that ask for torch or another package of the extras are skipped (tests/conftest.py)
test-oldest: $(OLDEST)
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(OLDEST_TESTS)

test-exports: $(EXPORTS)
	OMP_NUM_THREADS=1 .venv-exports/bin/python -m pytest -p no:anyio -n auto --dist loadfile -m exports tests/exports

test-clients: $(CLIENTS) $(CLIENTS_LIGHT)
	OMP_NUM_THREADS=1 .venv-clients/bin/python $(CLIENT_TESTS) $(EVERYWHERE) tests/clients/test_sahi.py tests/clients/test_fiftyone.py tests/clients/test_loggers.py
	OMP_NUM_THREADS=1 .venv-clients-light/bin/python $(CLIENT_TESTS) $(EVERYWHERE) \
	  tests/clients/test_gradio.py tests/clients/test_streamlit.py tests/clients/test_notebook.py tests/clients/test_trackeval.py

# figures and outcomes go to benchmarks/results/gpu.json; PEER names a Python that has Ultralytics
test-gpu:
	$(GPU_PYTHON) tests/gpu/run.py

check: $(DEV)
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports

clean:
	rm -rf .venv .venv-dev .venv-oldest .venv-clients .venv-clients-light .venv-exports tests/exports/node_modules build dist runs .coverage* htmlcov *.egg-info
