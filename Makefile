# The front door. Everything is built by meson and ninja in build/ (and build-asan/, build-tsan/, build-fuzz/ for what their
# names say); this file only saves typing.
BUILD ?= build
SECONDS_EACH ?= 60
DESTDIR ?=
PREFIX ?= /usr/local

.PHONY: help run demo build test quick bench fuzz install check-format format clean setup
.DEFAULT_GOAL := help

help:
	@echo "make run            set up, build, start everything here, and see it at work; goes on until Ctrl-C on a terminal"
	@echo "make demo           three programs share a software device less than half their size"
	@echo "make build          set up and build in $(BUILD)/"
	@echo "make test           set up, build, run every suite, also under the sanitizers; the last line counts"
	@echo "make quick          only the suites of the ordinary build"
	@echo "make bench          the benchmarks; one JSON line each"
	@echo "make fuzz           each fuzz target for SECONDS_EACH=$(SECONDS_EACH) seconds (clang)"
	@echo "make install        install under PREFIX=$(PREFIX), below DESTDIR if set"
	@echo "make check-format   what clang-format would change; make format does it"
	@echo "make clean          remove the build folders"

setup:
	@tools/setup run

build: setup
	@tools/build $(BUILD)

run: build
	@tools/first-run $(BUILD)

demo: build
	@tools/demo $(BUILD)

test:
	@tools/setup test
	@tools/test-all

quick:
	@tools/setup test
	@tools/test-all plain

bench:
	@tools/setup bench
	@tools/build build-bench --buildtype=release
	@meson test -C build-bench --benchmark --num-processes 1 --verbose

fuzz:
	@tools/setup fuzz
	@tools/fuzz $(SECONDS_EACH)

install: setup
	@tools/build build-install --buildtype=release --prefix=$(PREFIX) -Dtests=false
	@DESTDIR=$(DESTDIR) meson install -C build-install --no-rebuild

check-format:
	@tools/setup fuzz
	@git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror

format:
	@tools/setup fuzz
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	@rm -rf build build-asan build-tsan build-fuzz build-bench build-install
