# A thin face on the scripts and the CMake presets; every step also runs alone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

JOBS ?= $(shell nproc)

# LongBench's records, for the tests that want them: they are no part of the project. Without, those are skipped.
export ARKVALE_LONGBENCH ?= $(realpath ../shared/longbench)
export ARKVALE_BOOKS ?= $(realpath ../shared/books)

.PHONY: build demo test test-release test-asan test-tsan test-fuzz test-slow format tidy clean deps dev-deps

deps:
	@scripts/install_deps.sh
	@scripts/get_llama_cpp.sh >/dev/null

build: deps
	@cmake --preset release
	@cmake --build --preset release -j $(JOBS)

# Asks a question about a long text under a small KV budget.
demo: deps
	@scripts/get_models.sh smollm2
	@cmake --preset release
	@cmake --build --preset release -j $(JOBS) --target arkvale
	@scripts/demo.sh

# Everything that is not labelled slow, then the unit tests under the sanitizers, then a minute of each fuzz target.
test: test-release test-asan test-tsan test-fuzz

test-release: build
	@scripts/get_models.sh
	@scripts/check_layers.py
	@ctest --preset release

test-asan test-tsan: test-%: deps
	@cmake --preset $*
	@cmake --build --preset $* -j $(JOBS)
	@ctest --preset $* -j $(JOBS)

# The llama.cpp of the other presets: clang and g++ share one C++ library, and it is not instrumented anyway.
test-fuzz: deps
	@scripts/install_deps.sh --fuzz
	@cmake --preset fuzz -DARKVALE_LLAMA_DIR="$$(scripts/get_llama_cpp.sh --print-dir)"
	@cmake --build --preset fuzz -j $(JOBS)
	@ctest --preset fuzz -j $(JOBS)

test-slow: build
	@scripts/get_models.sh
	@ctest --preset slow

dev-deps: deps
	@scripts/install_deps.sh --dev

SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.cc' '*.h')

format: dev-deps
	@clang-format -i $(SOURCES)

tidy: dev-deps
	@cmake --preset release
	@printf '%s\n' $(filter %.cc,$(SOURCES)) | xargs -P $(JOBS) -n 1 clang-tidy --quiet -p build/release

clean:
	rm -rf build
