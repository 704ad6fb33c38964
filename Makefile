# `make demo` serves the app, `make test` runs the tests, `make lint` checks style, imports and types. Each makes .venv
# first, once. `make bench-lmms` runs lmms-eval, which needs gigabytes of packages, in .venv-lmms.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 7860
# Options of app.py, for example DEMO_FLAGS="--model llava-hf/llava-1.5-7b-hf".
DEMO_FLAGS ?=
# Where `make scenes` writes, how many scenes, and the seed that decides what they show.
OUT ?= scenes
COUNT ?= 96
SEED ?= 0
# The Space that `make space` uploads to, owner/name; DRY_RUN=1 lists the files and asks the Hub nothing.
SPACE ?=
DRY_RUN ?=
# Options of pytest, for example TEST_FLAGS="-k recipe"; `make test` then runs in one process.
TEST_FLAGS ?=
# In how many processes tests run, but for those in the browser, and how pytest-xdist deals them out.
TEST_PROCESSES ?= -n 2 --dist worksteal
# A package index to look into for torch besides the default one. On Linux without a GPU
# TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA libraries.
TORCH_INDEX ?=
PIP_FLAGS ?=
# `make evidence QUICK=1` only checks that everything runs. Options of app.evidence, for example
# EVIDENCE_FLAGS="--model llava-hf/llava-1.5-7b-hf --samples samples.jsonl"; so many processes share the answering.
QUICK ?=
EVIDENCE ?= $(if $(QUICK),runs/evidence-check,assets/evidence)
EVIDENCE_FLAGS ?=
PROCESSES ?= $(if $(QUICK),1,2)
# Options of tests.benchmarks.lmms, for example LMMS_FLAGS="--reduction 0 0.4 0.8".
LMMS_FLAGS ?=

BIN := .venv/bin
BIN_LMMS := .venv-lmms/bin
PIP := -m pip install --disable-pip-version-check $(PIP_FLAGS) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test test-fast lint format scenes evidence examples space bench bench-lmms clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/python app.py --host $(HOST) --port $(PORT) $(DEMO_FLAGS)

test: .venv/installed-dev
ifeq ($(TEST_FLAGS),)
	$(BIN)/python -m pytest $(TEST_PROCESSES) -m "not browser"
	$(BIN)/python -m pytest -m browser
else
	$(BIN)/python -m pytest $(TEST_FLAGS)
endif

test-fast: .venv/installed-dev
	$(BIN)/python -m pytest $(TEST_PROCESSES) -m "not slow and not browser" $(TEST_FLAGS)

bench: .venv/installed-dev
	$(BIN)/python -m tests.benchmarks

bench-lmms: .venv-lmms/installed
	$(BIN_LMMS)/python -m tests.benchmarks.lmms $(LMMS_FLAGS)

scenes: .venv/installed
	$(BIN)/python -m app.demo_model.samples --out $(OUT) --count $(COUNT) --seed $(SEED)

evidence: .venv/installed-dev $(if $(QUICK),,$(EVIDENCE)/raw/7-whole-request.csv)
	$(BIN)/python $(if $(filter-out 1,$(PROCESSES)),-m accelerate.commands.accelerate_cli launch --multi_gpu \
		--num_processes $(PROCESSES) --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0) \
		-m app.evidence --out $(EVIDENCE) $(if $(QUICK),--quick) $(EVIDENCE_FLAGS)

$(EVIDENCE)/raw/7-whole-request.csv: | .venv/installed-dev
	$(BIN)/python -m tests.benchmarks --only whole-request --out runs/whole-request
	mkdir -p $(@D)
	cp runs/whole-request/whole-request.csv $@

space: .venv/installed
	@$(BIN)/python -m app.space --space "$(SPACE)" $(if $(DRY_RUN),--dry-run)

# After the embedded model, its recipes or the examples have changed.
examples: .venv/installed
	$(BIN)/python -m app.precomputed

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@# Gradio writes these beside the components that it imports, and does not renew all of them.
	find app -name '*.pyi' -delete
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-lmms .pytest_cache .ruff_cache .mypy_cache

%/created:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0]) \
		if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $*
	@touch $@

.venv/installed: requirements.txt .venv/created
	$(BIN)/python $(PIP) -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python $(PIP) -r requirements-dev.txt
	@touch $@

# lmms-eval finds the model through the installed project's entry point.
.venv-lmms/installed: tests/benchmarks/lmms/requirements.txt pyproject.toml .venv-lmms/created
	$(BIN_LMMS)/python $(PIP) -r $<
	$(BIN_LMMS)/python $(PIP) -e .
	@touch $@
