# Targets: demo, test (fast), lint, check (everything; .ci/run), bench (benchmarks), stress (more cases of the stress tests),
# docs (the documentation site in build/site), reference (the generated pages of docs/), wheel (install the built files and run
# them), release (build and check; uploads nothing), clean.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: demo test lint check bench stress docs reference wheel release clean

demo: $(VENV)/installed
	$(BIN)/resexp train digits
	$(BIN)/resexp compare digits
	$(BIN)/resexp report digits

test: $(VENV)/installed-dev
	$(BIN)/pytest -m "not slow"

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/pytest

bench: $(VENV)/installed
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/deepest.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/guard.py
	$(BIN)/python benchmarks/history.py

stress: $(VENV)/installed-dev
	$(BIN)/pytest tests/test_stress.py tests/test_cluster.py tests/test_memory.py -n 0 -s --kills 100 --cluster-kills 10 --faults 40 --fault-stride 1 --together 50 --fuzz-seconds 600 --guarded-networks 100
	$(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

docs: $(BIN)/python runs/digits/report.html
	$(PIP) install --group docs
	$(BIN)/python benchmarks/staged_docs.py
	$(BIN)/zensical build --strict --clean
	@echo "Read it with: $(PYTHON) -m http.server --directory build/site"

runs/digits/report.html:
	$(MAKE) demo

reference: $(VENV)/installed
	for page in config cli files hypotheses python tables; do $(BIN)/python benchmarks/$${page}_reference.py || exit 1; done
	$(BIN)/python benchmarks/sentences.py

wheel: $(BIN)/python
	$(PIP) install --group release
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(PIP) install dist/*.whl
	tests/installed_run $(BIN)
	$(PIP) install --no-deps --force-reinstall dist/*.tar.gz
	tests/installed_run $(BIN)

release: wheel
	$(BIN)/twine check --strict dist/*
	$(BIN)/pyroma --min 10 .
	@echo "dist/ contains the checked files. Upload them with: twine upload dist/*"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"

$(VENV)/installed: $(BIN)/python pyproject.toml
	$(PIP) install -e .
	touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml
	$(PIP) install -e . --group dev
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV)
