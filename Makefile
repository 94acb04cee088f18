# `make demo` and `make test` set up what they need in .venv, from nothing but Python 3.11+.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint gpu clean

demo: $(VENV)/runtime
	$(BIN)/realtime-ser file --realtime --asr mini $$($(BIN)/python -c "from realtime_ser.samples import sample_path; print(sample_path('demo'))")

test: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

# What takes minutes, or needs the corpora for long.
test-slow: $(VENV)/development
	$(BIN)/pytest -m slow

# Leaves exactly one ONNX Runtime, the GPU build: pip alone would leave the CPU build on top of it.
gpu: $(VENV)/runtime
	$(BIN)/pip install -e '.[gpu]'
	$(BIN)/pip uninstall -y onnxruntime onnxruntime-gpu
	$(BIN)/pip install --no-deps --force-reinstall onnxruntime-gpu
	$(BIN)/realtime-ser doctor

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "realtime-ser needs Python 3.11 or newer; run make PYTHON=python3.12, say")'
	$(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv"; exit 1; }

$(VENV)/runtime: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/development: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[dev]'
	@touch $@
