# Every recipe is a script, called by a relative path and quoting what it handles: a clone's path may have a space in it.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-serial fuzz test conformance bench flash lint clean

help:
	@echo 'make setup   install what mcugrad needs (apt packages, a pinned .venv); a second run only checks'
	@echo 'make demo    a watch learns its wearer, on an emulated 256 KB microcontroller   (DEMO_ARGS=...)'
	@echo 'make demo-serial   the same watch over an emulated serial line, through a reset'
	@echo 'make test    run the tests                                                      (TEST_ARGS=...)'
	@echo 'make conformance   random networks beyond those of make test, resumed when stopped    (N=2000)'
	@echo 'make fuzz    the serial protocol under a fuzzer and the sanitizers    (SECONDS=600 MODEL=folder)'
	@echo 'make bench   instructions, SRAM and flash of networks and kernels, to build/bench/'
	@echo 'make flash BOARD=nucleo-f412zg MODEL=folder   bring a compiled model onto a board (FLASH_ARGS=--dry-run)'
	@echo 'make lint    ruff, mypy, and the C code with warnings as errors'
	@echo 'make clean   remove .venv, build and every cache'

setup:
	@.ci/setup

demo: setup
	@.ci/with-venv python -m models.watch.demo $(DEMO_ARGS)

demo-serial: setup
	@.ci/with-venv python -m models.watch.demo_serial $(DEMO_ARGS)

SECONDS ?= 600
fuzz:
	@.ci/setup test
	@.ci/with-venv python -m tests.serial_fuzz $(SECONDS) $(if $(MODEL),"$(MODEL)")

test:
	@.ci/setup test
	@.ci/with-venv .ci/test $(TEST_ARGS)

N ?= 2000
conformance:
	@.ci/setup test
	@.ci/with-venv python -m tests.conformance.many $(N)

bench:
	@.ci/setup bench
	@.ci/with-venv python -m tests.bench.run

flash: setup
	@.ci/with-venv mcugrad flash "$(MODEL)" --board "$(BOARD)" $(FLASH_ARGS)

lint:
	@.ci/setup test
	@.ci/with-venv .ci/lint

clean:
	@.ci/clean
