# What a person types: make demo, make test. Everything is installed into .venv from a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1
export PYTHONHASHSEED ?= 0

.PHONY: env demo test check bench soak format clean

env: $(STAMP)

# torch first and pinned: any other version would pull a CUDA build
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[local,dicom,volume,eval,train,trl,serve,data,dev]"
	touch $@

demo: env
	$(BIN)/ophiscope demo

test: env
	$(BIN)/python -m pytest -m "not soak"

check: env
	$(BIN)/ruff check src tests benchmarks services integrations
	$(BIN)/ruff format --check src tests benchmarks services integrations
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

soak: env
	$(BIN)/python -m pytest -m soak --timeout 3600

format: env
	$(BIN)/ruff format src tests benchmarks services integrations
	$(BIN)/ruff check --fix src tests benchmarks services integrations

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
