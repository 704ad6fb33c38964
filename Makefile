# `make demo` serves the app, `make test` runs the tests, `make lint` checks the style. Each makes .venv first, once.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 7860
# Options of app.py, for example DEMO_FLAGS="--model llava-hf/llava-1.5-7b-hf".
DEMO_FLAGS ?=
# Options of pytest, for example TEST_FLAGS="-k recipe".
TEST_FLAGS ?=
# A package index to look into for torch besides the default one. On Linux without a GPU
# TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA libraries.
TORCH_INDEX ?=
PIP_FLAGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test lint format bench clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/python app.py --host $(HOST) --port $(PORT) $(DEMO_FLAGS)

test: .venv/installed-dev
	$(BIN)/python -m pytest $(TEST_FLAGS)

bench: .venv/installed-dev
	$(BIN)/python -m tests.benchmarks

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .ruff_cache

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0]) \
		if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: requirements.txt .venv/created
	$(PIP) -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PIP) -r requirements-dev.txt
	@touch $@
