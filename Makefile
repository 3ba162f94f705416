# Every target makes the virtual environment first if there is none.
PYTHON ?= python3
BIN := .venv/bin
# On a machine that brings its own torch (a CUDA build, say) that one is kept.
SYSTEM_TORCH := $(shell $(PYTHON) -c "import torch" 2>/dev/null && echo yes)

# What is trained for the pictures of the docs: none leaves them out, brief a quarter of each training, full all of it.
PICTURES ?= brief

.PHONY: film test test-slow lint types docs bench clean

film: .venv/.core
	$(BIN)/nexus film examples/lighthouse.yaml -o film.mp4

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

test-slow: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

lint: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: .venv/.test
	$(BIN)/pyright

docs: .venv/.docs
	OMP_NUM_THREADS=1 PICTURES=$(PICTURES) $(BIN)/mkdocs build --strict

bench: .venv/.test
	for file in benchmarks/*.py; do $(BIN)/python $$file; done

clean:
	rm -rf .venv runs dist site .nexus-cache/docs film.mp4 film.json film.srt film.vtt .pytest_cache .ruff_cache

.venv/constraints.txt: constraints.txt
	$(PYTHON) -m venv $(if $(SYSTEM_TORCH),--system-site-packages) .venv
	grep -v $(if $(SYSTEM_TORCH),'^torch==','^$$') constraints.txt > $@

.venv/.core: .venv/constraints.txt pyproject.toml
	$(BIN)/pip install --quiet --constraint .venv/constraints.txt --editable .
	touch $@

.venv/.test: .venv/.core requirements-parity.txt
	$(BIN)/pip install --quiet --constraint .venv/constraints.txt --editable ".[test]"
	$(BIN)/pip install --quiet --no-deps --requirement requirements-parity.txt
	touch $@ .venv/.core

.venv/.docs: .venv/.core
	$(BIN)/pip install --quiet --constraint .venv/constraints.txt --editable ".[docs]"
	touch $@
