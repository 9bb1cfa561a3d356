# Everything happens in .venv beside this file; a machine needs Python >= 3.11 and make, and no compiler.
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
# Compiled once: where an environment forbids it, each of a dozen processes would compile PyTorch again, for ten seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-full test-official wheels docs lint clean

demo: .venv
	@$(UV) pip install --quiet --python .venv -e .
	@$(BIN)/python src/internimage/ops/native/build.py
	$(BIN)/internimage demo

# Two processes with one thread each; the tests of a file stay together, because they share what is slow to make.  A
# test that stands still is named and ends the run.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not full and not official" --numprocesses 2 --dist loadfile --timeout 600 --timeout-method thread --max-worker-restart 0

# And every golden and slow case, one by one; needs the shared folder beside the checkout, or INTERNIMAGE_SHARED.
test-full: test
	$(BIN)/pytest -m full

# Metrics against the packages of the sets' authors, in an environment of their own.  nuScenes' asks for an old NumPy and
# runs with a new one: what it needs stands in the extra.
test-official:
	@test -d .venv-official || $(PYTHON) -m venv .venv-official
	@test -x "$(UV)" || .venv-official/bin/python -m pip install --quiet uv
	@$(if $(wildcard $(UV)),$(UV),.venv-official/bin/uv) pip install --quiet --python .venv-official -e ".[official]"
	@$(if $(wildcard $(UV)),$(UV),.venv-official/bin/uv) pip install --quiet --python .venv-official --no-deps nuscenes-devkit==1.2.0
	.venv-official/bin/pytest -m official

# The sdist and wheels for Linux, macOS and Windows, in dist/: compiled by Zig, which comes from the package index, and checked.
wheels:
	@test -d .venv-wheels || $(PYTHON) -m venv .venv-wheels
	@.venv-wheels/bin/python -m pip install --quiet --disable-pip-version-check hatchling==1.33.0 ziglang==0.17.1
	.venv-wheels/bin/python tools/wheels.py

# The documentation site, in site/; any warning ends it.
docs:
	@test -d .venv-docs || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check "zensical==0.0.73" "mkdocstrings==1.0.8" "mkdocstrings-python==2.0.11" ruff
	.venv-docs/bin/zensical build --strict
	@echo "written: site/index.html"

lint: .venv
	@$(UV) pip install --quiet --python .venv -e ".[test]"
	@$(BIN)/python src/internimage/ops/native/build.py
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "internimage needs Python >= 3.11: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet uv

clean:
	rm -rf .venv .venv-official .venv-docs .venv-wheels dist site .mypy_cache .ruff_cache .pytest_cache
