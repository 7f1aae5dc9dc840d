# `make` alone lists the verbs. Needs Python 3.11, git and make; everything else comes from the lock.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
INSTALLED := $(VENV)/.installed
UV := $(VENV)/bin/uv
# The first of these that is there and new enough; `make PYTHON=... setup` takes another.
# Looked for once, where it is asked for first.
PYTHON ?= $(eval PYTHON := $(firstword $(foreach p,python3.11 python3 python,$(shell \
	$(p) -c 'import sys; sys.version_info < (3, 11) or print("$(p)")' 2>/dev/null))))$(PYTHON)
EXTRAS ?=  # `make setup EXTRAS="eeg cluster"` adds what pyproject.toml calls so; `all` of them
ALL_EXTRAS := eeg imagenet cluster remote docs
LONG ?=  # `make faults LONG=1` takes the numbers of docs/what_holds.md
OPEN ?=  # `make report OPEN=1` shows the page in a browser
UPGRADE ?=  # `make lock UPGRADE=--upgrade` moves every pin to its newest version

COMPILE = $(UV) pip compile $(UPGRADE) --quiet --python-version 3.11 --python-platform linux \
	--generate-hashes --no-emit-index-url --annotation-style line --custom-compile-command "make lock"
LOCKED = $(shell sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' $(1))

# DVC's stages say `python`, so the environment's programs come first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

# A missing prerequisite is one line: make's own error, which also ends it.
works = $(shell $(1) >/dev/null 2>&1 && echo yes)
require = $(if $(call works,$(1)),,$(error $(2)))
require_linux = $(call require,test "$$(uname -s)" = Linux,the pipeline is locked for Linux; \
	elsewhere `pip install .` gives the library (schedules, ScheduledLR, range test))
require_python = $(if $(PYTHON),$(call require,'$(PYTHON)' -c 'import sys; assert sys.version_info >= (3, 11)',\
	PYTHON=$(PYTHON) is not Python 3.11 or newer),$(error Python 3.11 or newer is needed \
	and none of python3.11 python3 python is it; name one with `make PYTHON=/path/to/python3.11 ...`))
require_venv = $(call require,'$(PYTHON)' -c 'import venv$(comma) ensurepip',\
	$(PYTHON) has no venv module; on Debian and Ubuntu it is the package python3.11-venv)
require_git = $(call require,git --version,git is needed (DVC works inside a Git repository) and is not on the PATH)
require_dvc = $(call require,git rev-parse --is-inside-work-tree,\
	this folder is not a Git repository$(comma) which DVC needs; clone the project or run `git init`)$(call \
	require,test -f .dvc/config,.dvc/config is missing$(comma) so this is no DVC repository; `git checkout .dvc` brings it back)
require_mkdocs = $(call require,test -x $(VENV)/bin/mkdocs,the documentation needs the extra docs; install it \
	with `$(UV) pip install --python $(VENV)/bin/python -e ".[docs]"`)
comma := ,

.PHONY: help
help:  ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r verb what; \
		do printf '%-18s %s\n' "$$verb" "$$what"; done

.PHONY: setup
setup: $(INSTALLED) $(patsubst %,$(INSTALLED)-%,$(EXTRAS:all=$(ALL_EXTRAS)))  ## create .venv from the lock (EXTRAS=eeg: with an extra, EXTRAS=all)
	@echo "Ready: source $(VENV)/bin/activate"

$(INSTALLED): requirements.lock pyproject.toml
	$(require_linux)$(require_python)$(require_venv)$(require_git)
	@echo "Setting up $(VENV) with $(PYTHON) (a few GiB to download the first time)"
	@'$(PYTHON)' -m venv $(VENV)
	@# uv, which installs the rest, is the one entry that pip takes from the lock.
	@awk '/^[^ ]/ { keep = /^uv==/ } keep' requirements.lock >$(VENV)/uv.lock
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes -r $(VENV)/uv.lock
	@$(UV) pip install --quiet --compile-bytecode --python $(VENV)/bin/python --require-hashes \
		-r requirements.lock || { \
		echo "uv could not install the lock; trying pip, which has settings of its own"; \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }
	@$(UV) pip install --quiet --python $(VENV)/bin/python --offline --no-deps --no-build-isolation \
		-e . -e extensions/cpu_kernels
	@$(VENV)/bin/python -m compileall -q src  # so that the first command is no slower than the second
	@touch $@

# The lock with all extras says which versions; what is there already agrees with it.
$(INSTALLED)-%: $(INSTALLED) requirements-all.lock
	@echo "Adding the extra $*"
	@$(UV) pip install --quiet --compile-bytecode --python $(VENV)/bin/python --no-build-isolation \
		--constraint requirements-all.lock -e '.[$*]'
	@touch $@

.PHONY: reproduce
reproduce: $(INSTALLED)  ## set up, run the default campaign in local/reproduce, compare with what is committed
	$(require_git)$(require_dvc)
	@anneal reproduce

.PHONY: renew-quick
renew-quick: $(INSTALLED)  ## run the default campaign here: renews results/quick, dvc.lock and the report
	$(require_git)$(require_dvc)
	OMP_WAIT_POLICY=passive anneal grid  # threads that spin slow a busy machine down

# Of `dvc exp show`: the dependencies, how many runs there were, what a campaign lists.
LITTLE := (conf|data|evaluations|experiments|paper|params.yaml|range_tests|results|runs|src)(/[^:]*)?$$$$|$\
	(.*:)?(n|diverged|half_width_pct)$$$$|(campaign|hardware|tracking)\.(?!name)

.PHONY: experiments
experiments: $(INSTALLED)  ## show what `dvc exp run` made, without the columns that say little
	@dvc exp show --drop '$(LITTLE)'

.PHONY: test
test: $(INSTALLED)  ## run every test (real archives too when ANNEAL_ARCHIVES names their folder)
	@# A file a process, for files share fixtures; one thread each, for threads that share cores wait.
	OMP_NUM_THREADS=1 pytest -q --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# Rooms whose tests take milliseconds each, without the files that train, start processes or compose every row.
FAST := schedules config claims results io contracts
NOT_FAST := schedules/test_import config/test_compose results/test_ensemble_store results/test_campaign \
	results/test_compare io/test_files contracts/test_conf contracts/test_docs contracts/test_report \
	contracts/test_rows contracts/test_stages

.PHONY: lint
lint: $(INSTALLED)  ## format, lint and types
	ruff format --check .
	ruff check .
	mypy

.PHONY: check
check: lint  ## lint and the fast tests, in under 90 s; what a change has to pass
	OMP_NUM_THREADS=1 pytest -q --numprocesses=auto --dist=loadfile --no-loadscope-reorder \
		-m "not slow and not archives and not gpu" \
		$(FAST:%=tests/%) $(NOT_FAST:%=--ignore=tests/%.py)

# What the lock does not have goes into a folder of its own: .venv and its torch stay as they are.
.PHONY: frameworks
frameworks: export ANNEAL_FRAMEWORKS := $(or $(ANNEAL_FRAMEWORKS),$(CURDIR)/.frameworks)
frameworks: $(INSTALLED)  ## install Lightning, transformers, Accelerate and Ignite into .frameworks and try ScheduledLR in them
	$(UV) pip install --quiet --no-deps --require-hashes --python $(VENV)/bin/python \
		--target "$(ANNEAL_FRAMEWORKS)" -r requirements-frameworks.lock
	OMP_NUM_THREADS=1 pytest -q -m frameworks tests/frameworks

.PHONY: hooks
hooks: $(INSTALLED)  ## run ruff on the staged files before each Git commit (pre-commit, seconds)
	pre-commit install

.PHONY: docs
docs: $(INSTALLED)  ## build the documentation into site/; a warning is an error
	$(require_mkdocs)
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict  # the notice is about a later mkdocs

.PHONY: params
params: $(INSTALLED)  ## compose conf/ into params.yaml, after every edit of conf/
	anneal params

.PHONY: report
report: $(INSTALLED)  ## write the report again from results/ alone (OPEN=1: and show it in a browser)
	python -m anneal.commands.stages.report
	@echo "The report: $(CURDIR)/paper/report.html and paper/report.md"
	@# A text browser would take the terminal, and a slow one would hold make: neither is waited for.
	@if [ -n "$(OPEN)" ]; then \
		if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] && command -v xdg-open >/dev/null; \
		then xdg-open paper/report.html >/dev/null 2>&1 </dev/null & \
		else echo "no display or no xdg-open here: open the file yourself"; fi; fi

.PHONY: push
push: $(INSTALLED)  ## say how large the outputs of the stages are, then `dvc push` them
	@echo "Sent at most (what the remote has is not sent again):"
	@dvc du . | grep -E '[[:space:]](data|evaluations|experiments|range_tests|runs)$$'
	dvc push

# CI runs tests/faults in `make test`.
.PHONY: faults
faults: $(INSTALLED)  ## break things, count what is lost: disks, files, trackers, kills (LONG=1: hours)
	$(if $(CI),,pytest -q tests/faults)
	OMP_NUM_THREADS=1 python benchmarks/faults.py --tries $(if $(LONG),3,1)
	OMP_NUM_THREADS=1 python benchmarks/kill_campaign.py --kills $(if $(LONG),200,10)
	OMP_NUM_THREADS=1 python benchmarks/mutations.py --inputs $(if $(LONG),5000,500)
	$(if $(LONG),OMP_NUM_THREADS=1 python benchmarks/guards.py)
	$(if $(LONG),OMP_NUM_THREADS=1 python benchmarks/long_runs.py)

.PHONY: benchmark
benchmark: $(INSTALLED)  ## measure this machine: settings, and our trainer against a plain loop
	python benchmarks/settings.py
	python benchmarks/training.py

.PHONY: lock
lock: $(INSTALLED)  ## renew the locks after an edit of dependencies (UPGRADE=--upgrade: newest)
	$(COMPILE) pyproject.toml requirements.in --all-extras --output-file requirements-all.lock
	$(COMPILE) pyproject.toml requirements.in --extra dev --constraint requirements-all.lock \
		--output-file requirements.lock
	$(COMPILE) requirements-frameworks.in --constraint requirements.lock \
		$(addprefix --no-emit-package ,$(call LOCKED,requirements.lock)) \
		--output-file requirements-frameworks.lock

.PHONY: build
build: $(INSTALLED)  ## build the wheel into dist/
	python -m build --wheel --no-isolation

.PHONY: audit
audit: $(INSTALLED)  ## look up known vulnerabilities of the locked packages ("not run" without the service)
	python benchmarks/audit.py

.PHONY: sbom
sbom: $(INSTALLED)  ## write the software bill of materials of the locks, dist/sbom.json (CycloneDX)
	@mkdir -p dist
	$(UV) tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements-all.lock \
		--output-reproducible --of JSON -o dist/sbom.json

.PHONY: clean
clean:  ## remove caches and build output; never data, runs or results
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
