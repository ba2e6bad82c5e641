# The front door. The build is CMake's (CMakeLists.txt, CMakePresets.json).

BUILD  := build/release
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
export PROMPT ?= It was a dark and stormy night, and the

help:
	@echo "make run      set up, build, and let the bundled model continue a sentence (PROMPT=...)"
	@echo "make test     set up, build, and run all tests"
	@echo "make test-torch  the Python package with PyTorch and transformers, which it installs into build/"
	@echo "make wheel    the Python wheel, into build/wheel; make wheel-arm64: the one for arm64, cross-built and tried under emulation"
	@echo "make bench    the speed of a 130m model beside the machine's limits"
	@echo "make install  into PREFIX=$(PREFIX)"
	@echo "make format   clang-format the sources"
	@echo "make clean    remove build/"

setup-%:
	@tools/setup.sh $(subst -, ,$*)

configure:
	@mkdir -p build
	@cmake --preset release > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@grep -e '-- krait:' $(BUILD).log || true

build: configure
	@cmake --build $(BUILD) -j $(JOBS)

program: configure
	@cmake --build $(BUILD) -j $(JOBS) --target krait_cli

run: setup-run program
	@$(BUILD)/krait run -p "$$PROMPT" --stats

# With CI set, tests that need KRAIT_DATA (tests/data/README.md) fail when it is missing; without the folder they are skipped.
test: setup-run-test build
	@cd $(BUILD) && $(if $(KRAIT_DATA),,env -u CI )ctest --output-on-failure -j $(JOBS)

# What needs PyTorch; `make test` runs the rest. With transformers' version 4 as well, and with the system's PyTorch, Debian's being of before custom operators.
test-torch: export PYTHONPATH := $(CURDIR)/python
test-torch: export KRAIT_LIBRARY := $(CURDIR)/$(BUILD)/libkrait.so.0
test-torch: export OMP_WAIT_POLICY := passive
test-torch: setup-run-test build
	@tools/torch-env.sh
	@build/torch-env/bin/python -m pytest -q -rs tests/python -k torch
	@PYTHONPATH=$(CURDIR)/build/torch-env/transformers-4:$(CURDIR)/python build/torch-env/bin/python -m pytest -q -rs tests/python/test_torch_models.py tests/python/test_torch_hub.py -k 'transformers or hub'
	@if /usr/bin/python3 -c 'import torch, numpy, pytest' 2>/dev/null; then /usr/bin/python3 -m pytest -q -rs tests/python -k 'torch and not examples'; \
	    else echo 'no PyTorch of the system (Debian: python3-torch): not tried with it'; fi
	@build/torch-env/bin/mypy python/krait

wheel: setup-run
	@tools/wheel.sh

wheel-arm64: setup-run-arm64
	@tools/wheel.sh --arch arm64
	@tests/check_wheel.sh build/wheel/krait-*_aarch64.whl

bench: setup-run program
	@$(BUILD)/krait bench --shape 130m

install: setup-run build
	@cmake --install $(BUILD) --prefix "$(PREFIX)"

format:
	@git ls-files '*.c' '*.h' | xargs $$(command -v clang-format-14 || command -v clang-format) -i

clean:
	@rm -rf build

MAKEFLAGS += --no-print-directory
.NOTPARALLEL: # set up before building; the build has its own jobs
.PHONY: help configure build program run test test-torch wheel wheel-arm64 bench install format clean
.DEFAULT_GOAL := help
