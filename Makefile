# make demo: a simulated experiment, analysed live (window where there is a display, headless otherwise)
# make test: static checks and every test that this machine can run
# Both build the virtual environment they need; nothing has to be installed beforehand but Python 3.11+.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := streamer pipeline gui simulator training
# One dependency that only makes decoding faster has no wheel: it is built where there is a C compiler.
FAST := $(if $(shell command -v cc),fast,)
comma := ,

# A run is several processes: where bytecode is not kept, as in many containers, each compiles all it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test foreign check format bench fuzz soak gpu-check gpu-bench gpu-test clean screenshots

demo: $(VENV)/.runtime
	$(BIN)/atomstream demo $(DEMO)

test: $(VENV)/.develop check
	@$(MAKE) --no-print-directory foreign || echo "tests against other people's detector simulators will be skipped"
	$(BIN)/python -m pytest -n 3 --dist loadfile --durations 15 $(PYTEST)

# Other people's senders and receivers, each in an environment of its own: the tests talk to them.
foreign: $(VENV)/bin/python
	$(BIN)/python tests/integration/make_venvs.py

check: $(VENV)/.develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.develop
	$(BIN)/python -m benchmarks.record
	$(BIN)/python -m benchmarks.analyse
	$(BIN)/python -m benchmarks.tee
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.display

# Ten minutes each, and no benchmarks: they say yes or no. FUZZ='--seconds 60', SOAK='--minutes 1': shorter.
fuzz: $(VENV)/.develop
	$(BIN)/python -m benchmarks.fuzz --seconds 600 $(FUZZ)
	$(BIN)/python -m benchmarks.fuzz_files --seconds 600 $(FUZZ)

soak: $(VENV)/.develop
	$(BIN)/python -m benchmarks.soak --minutes 10 --dry $(SOAK)

# Tests, demonstration and speed, one after the other, whatever becomes of each: GPU_CHECK='--minutes 9'.
gpu-check: $(VENV)/.gpu
	$(BIN)/python -m benchmarks.gpu_check $(GPU_CHECK)

# A part of it: make gpu-bench GPU_BENCH='--sizes 1024 --batches 16'
gpu-bench: $(VENV)/.gpu
	$(BIN)/python -m benchmarks.gpu $(GPU_BENCH)

gpu-test: $(VENV)/.gpu
	$(BIN)/python -m pytest -m gpu -n 1 -W default --timeout-method thread --gpu-results benchmarks/results $(PYTEST)

screenshots: $(VENV)/.runtime
	$(BIN)/python docs/screenshots/make.py

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer, with venv, is needed and was not found" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.$(if $(FAST),[$(FAST)])'
	@touch $@

$(VENV)/.develop: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[$(if $(FAST),$(FAST)$(comma))simulate,train,test]'
	@touch $@ $(VENV)/.runtime

# CuPy and TensorRT: gigabytes, so only where there is a GPU, and only if they are not there already.
$(VENV)/.gpu: $(VENV)/.develop
	@$(BIN)/python -c 'import sys; from pipeline.backends.cuda_device import why_no_device; sys.exit(why_no_device() or None)'
	@$(BIN)/python -c 'import cupy, filelock, onnx, tensorrt' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--constraint constraints.txt --editable '.[$(if $(FAST),$(FAST)$(comma))simulate,train,test,gpu]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
