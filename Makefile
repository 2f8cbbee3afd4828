# Each target does its own set-up: Python >= 3.11 with venv and pip is all it assumes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SITE   := .venv-site
AUDIT  := .venv-audit

# Tests start hundreds of processes: each would compile all modules anew where a machine has this set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test unit lint format bench bench-quick bench-plot hunt soak hunt-short hunt-proof fuzz completions docs site lock audit clean

help:
	@echo "make demo         two real Kafka clusters, a topic mirrored between them, before your eyes"
	@echo "make test         all tests, against real brokers (unit alone: make unit)"
	@echo "make lint         ruff, mypy, the layers; completions and docs current"
	@echo "make format       what the formatter can put right"
	@echo "make bench        kmirror, MirrorMaker 2 and a record loop on the same data"
	@echo "make bench-quick  is this tree faster than the last commit? 3 minutes (QUICK='--against main --load small')"
	@echo "make bench-plot   the results of the benchmark as pictures in docs/images"
	@echo "make hunt         random traffic and faults until you stop it, then the oracle (HUNT='--seed 7 --runs 1')"
	@echo "make fuzz         damaged answers and files for whatever reads them (FUZZ='--inputs 100000')"
	@echo "make soak         one runner for hours under traffic and faults, looked at each minute (SOAK='--hours 1')"
	@echo "make completions  write completions/ anew from the commands"
	@echo "make docs         write the pages, man pages and pictures anew that are made from the program"
	@echo "make site         docs/ as a site in build/site, every link checked"
	@echo "make lock         write requirements/*.txt anew from pyproject.toml"
	@echo "make audit        known weaknesses of what is locked there; asks the advisories of the package index"
	@echo "make clean        remove what these made here"

demo: $(READY)
	@$(BIN)/kmirror demo

# Three at a time on two cores: tests wait for brokers half of their time. `tests/support/shifts.py` says in which order.
test: $(READY)
	$(BIN)/python -m pytest -n 3 tests/cluster tests/unit

unit: $(READY)
	$(BIN)/python -m pytest tests/unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/generate.py --check

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m bench $(BENCH)

bench-quick: $(READY)
	$(BIN)/python -m bench.quick $(QUICK)

bench-plot: $(READY)
	$(BIN)/python -m bench.plot

hunt: $(READY)
	PYTHONPATH=tests $(BIN)/python -m hunt $(HUNT)

soak: $(READY)
	PYTHONPATH=tests $(BIN)/python -m hunt.soak $(SOAK)

hunt-short: export HUNT_SECONDS ?= 300
hunt-short: $(READY)
	$(BIN)/python -m pytest tests/hunt

fuzz: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ)

hunt-proof: $(READY)
	PYTHONPATH=tests $(BIN)/python -m hunt.proof $(PROOF)

completions docs: $(READY)
	$(BIN)/python tools/generate.py $@

site: docs $(SITE)/.ready
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --strict
	@echo "build/site/index.html"

$(SITE)/.ready: requirements/site.txt
	@$(PYTHON) -m venv --clear $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/site.txt
	@touch $@

LOCKED := pyproject.toml requirements/dev.txt

# The package itself comes last and without its dependencies: those are the locked ones. When only its compiled part has
# changed, it alone is installed anew.
$(READY): $(LOCKED) hatch_build.py $(wildcard src/kmirror/wire/*.c)
	@$(if $(filter $(LOCKED),$?),$(NEW_VENV))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

define NEW_VENV
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "kmirror needs Python 3.11 or later, and $(PYTHON) is" \
    "$$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }; \
echo "Setting up $(VENV): once, and again when pyproject.toml or requirements/dev.txt change ..."; \
$(PYTHON) -m venv --clear $(VENV) && \
$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
endef

COMPILE := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"

lock:
	$(COMPILE) --extra sandbox --group dev pyproject.toml requirements/build.in --output-file requirements/dev.txt
	$(COMPILE) --group site --output-file requirements/site.txt
	$(COMPILE) --group audit --output-file requirements/audit.txt

# Needs the network, which CI has not: there a test sees to it that all is pinned and hashed. --strict: a package that
# the service does not know, as where an index has no advisories, is a failure, and not passed over.
audit: $(AUDIT)/.ready
	@failed=; for locked in requirements/*.txt; do echo "$$locked"; \
	  $(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r "$$locked" $(PIP_AUDIT) \
	    || failed="$$failed $$locked"; \
	done; \
	if [ -n "$$failed" ]; then \
	  echo "Error: not free of known weaknesses, or not to be asked for them:$$failed" >&2; \
	  echo "Suggestions: what pip-audit says above tells which. Advisories are there for PyPI itself, not for every" \
	    "mirror of it; PIP_AUDIT=\"--vulnerability-service osv\" asks https://osv.dev instead." >&2; \
	  exit 1; \
	fi

$(AUDIT)/.ready: requirements/audit.txt
	@$(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

clean:
	rm -rf $(VENV) $(SITE) $(AUDIT) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +
