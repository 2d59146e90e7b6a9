# Each target sets up what it needs on a fresh machine: the virtual environment and, as root on Debian, system packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
# many tests wait for mounts and child processes
WORKERS ?= $(shell expr 3 \* $$(nproc) / 2)

.PHONY: setup system bench-system torture-system test test-slow torture lint coverage damage demo bench docs man package clean

setup: $(READY) system

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/cryofs warm
	touch $@

# a program that cannot be installed is skipped, and the report mentions it
$(BENCH_READY): $(READY)
	$(BIN)/pip install --quiet --editable '.[bench]' && \
		$(BIN)/pip install --quiet --no-deps 'ratarmount>=1.3,<1.4' && touch $@ || echo "missing: ratarmount"

# Install missing packages if possible; otherwise tests that need them are skipped with a reason.
system: PACKAGES = fusermount3:fuse3 tiffinfo:libtiff-tools relion_convert_to_tiff:relion chromium:chromium \
	systemd-analyze:systemd getfattr:attr curl:curl rsync:rsync mpirun:openmpi-bin bzip2:bzip2 xz:xz-utils zstd:zstd locale-gen:locales \
	git:git smbd:samba smbclient:smbclient
torture-system: PACKAGES = stress-ng:stress-ng fio:fio dbench:dbench bonnie++:bonnie++
bench-system: PACKAGES = mpirun:openmpi-bin pzstd:zstd mksquashfs:squashfs-tools squashfuse:squashfuse
system bench-system torture-system:
	@missing=""; \
	for each in $(PACKAGES); do command -v "$${each%:*}" >/dev/null || missing="$$missing $${each#*:}"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
		else \
			echo "missing:$$missing (on Debian: sudo apt-get install$$missing)"; \
		fi; \
	fi

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-slow: setup
	$(BIN)/pytest -m slow

# Branch coverage of the packages that handle bytes. Coverage cannot trace compiled functions, so their tests run with
# numba disabled, where NumPy warns of intentional overflow.
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests/formats tests/movies tests/corpus
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q -o filterwarnings= -o timeout=1800 tests/kernels tests/codecs
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# ARGS="--count 5000 --seed 2" for more or different damaged files
damage: setup
	$(BIN)/python -m tests.corpus.run $(ARGS)

# ARGS="--kills 60 --minutes 2 --stress 30" for a shorter run than hours; writes the figures to docs/reliability.md.
# ARGS="writing fio --stress 60" for some parts, without writing them
torture: setup torture-system
	$(BIN)/python -m tests.torture $(ARGS)

demo: setup
	$(BIN)/python -m benchmarks.demo

# ARGS=--small for small movies, ARGS=--help for all options
bench: setup bench-system $(BENCH_READY)
	$(BIN)/python -m benchmarks.compare $(ARGS)

docs: setup
	$(BIN)/mkdocs build --strict

# Manual pages, generated from --help
man: $(READY)
	$(BIN)/python -m release.man build/man

# Build the wheel, and test it in a temporary environment of each installed Python
package: $(READY)
	rm -rf dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m release.try_wheel dist/*.whl

clean:
	rm -rf $(VENV) build dist site .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
