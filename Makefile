# Targets: demo, test, lint, bench (benchmarks), stress (more cases of the stress tests), clean. README.md has the commands without make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench stress clean

demo: $(VENV)/installed
	$(BIN)/resexp train digits
	$(BIN)/resexp compare digits
	$(BIN)/resexp report digits

test: $(VENV)/installed-dev
	$(BIN)/pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/deepest.py

stress: $(VENV)/installed-dev
	$(BIN)/pytest tests/test_stress.py tests/test_cluster.py tests/test_memory.py -n 0 -s --kills 100 --cluster-kills 10 --faults 40 --fault-stride 1 --together 50 --fuzz-seconds 600 --guarded-networks 100
	$(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV)
