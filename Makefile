# Everything sets itself up: Python 3.11 or newer is all that a machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
READY := $(VENV)/.ready-$(EXTRA)

.PHONY: demo test lint style types pytest chaos serve bench fuzz clean

demo: $(READY)
	$(BIN)/crosswalk demo $(ARGS)

# On a machine so slow or so busy that waits end in vain: CROSSWALK_TEST_PATIENCE=2 make test waits twice as long.
# What fails is run once more, and told with its traceback even where it passes then (tests/reruns.py).
# Hundreds of processes are started, which would each compile the code anew where the environment has Python keep nothing.
# Types are checked by one process for minutes where nothing of it is kept from before, and so beside the tests.
test: export PYTHONDONTWRITEBYTECODE :=
test: style
	$(MAKE) --no-print-directory --jobs=2 types pytest

pytest: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --reruns 1

lint: style types

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/lint-imports

# kill -9, sleep and restarts under load, and a checker of what clients saw: make chaos MINUTES=5 SEED=7 ARRANGEMENT=sqlite
MINUTES ?= 20
chaos: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(ARRANGEMENT),--arrangement $(ARRANGEMENT))

serve: $(READY)
	$(BIN)/crosswalk serve $(ARGS)

# make bench DATA=/path/to/data: the figures of benchmarks/RESULTS.md, made again.
bench: $(READY)
	$(BIN)/python -m benchmarks.crossing --data $(DATA)
	$(BIN)/python -m benchmarks.forward --data $(DATA) --parts compare,sizes,speed
	$(BIN)/python -m benchmarks.few_pairs --data $(DATA)
	$(BIN)/python -m benchmarks.backfill --data $(DATA)
	$(BIN)/python -m benchmarks.pushing --data $(DATA)
	$(BIN)/python -m benchmarks.cascade --data $(DATA)
	$(BIN)/python -m benchmarks.fused --data $(DATA)
	$(BIN)/python -m benchmarks.fused_coverage --data $(DATA)
	$(BIN)/python -m benchmarks.migrations --data $(DATA)
	$(BIN)/python -m benchmarks.side_information --data $(DATA)
	$(BIN)/python -m benchmarks.stand_in --data $(DATA)
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.fit_speed
	$(BIN)/python -m benchmarks.verdict --data $(DATA)
	$(BIN)/python -m benchmarks.compatible --data $(DATA)
	$(BIN)/python -m benchmarks.training_step --data $(DATA)
	$(BIN)/python -m benchmarks.random_walk
	$(BIN)/python -m benchmarks.index_speed
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.million
	$(BIN)/python -m benchmarks.search_costs
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.filters
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.transform_workers
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fused_speed
	$(BIN)/python -m benchmarks.streaming
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.apply
	$(BIN)/python -m benchmarks.gateway_start
	$(BIN)/python -m benchmarks.hostile_uploads
	$(BIN)/python -m benchmarks.admission
	$(BIN)/python -m benchmarks.space_guard --data $(DATA)
	$(BIN)/python -m benchmarks.space_guard_cost

# make fuzz EXAMPLES=300: so many requests to each operation, made from the OpenAPI document, on both databases; then
# RUNS=20000 made-up bodies for the decoders, where atheris is installed.
RUNS ?= 20000
fuzz: $(READY)
	CROSSWALK_TEST_FUZZ_EXAMPLES=$(or $(EXAMPLES),300) CROSSWALK_TEST_PATIENCE=20 $(BIN)/pytest tests/fuzz
	@if $(BIN)/python -c "import atheris" 2>/dev/null; then $(BIN)/python -m tests.fuzz.decoders --runs $(RUNS); \
	else echo "The fuzzing of decoders is skipped: atheris is not installed."; fi

clean:
	rm -rf $(VENV) build dist *.egg-info

# Twice quiet, pip says nothing but errors: its warnings are of no use to who runs this for the first time.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): the first time, this takes some minutes."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --upgrade pip
	@echo "  1 of 2: PyTorch…"
	@$(PIP_INSTALL) --constraint constraints.txt torch
	@echo "  2 of 2: Crosswalk and what else it needs…"
	@$(PIP_INSTALL) --constraint constraints.txt --editable ".[$(EXTRA),dev]"
# What the tests have of Milvus brings faiss-cpu, into the same folder: the files of faiss-gpu are to be those that stay.
	@if [ "$(EXTRA)" = gpu ]; then \
	    $(PIP_INSTALL) --constraint constraints.txt --force-reinstall --no-deps faiss-gpu; fi
	@touch $@
