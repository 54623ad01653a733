# Two commands on a bare machine (python3 >= 3.11, make, git): `make run` and `make test`.
# PROFILE=tiny|demo|bank  DATA=<folder of your three files>  DATASET=<format>:<folder>
PYTHON  ?= python3
PROFILE ?= demo
DATA    ?=
DATASET ?=
CREDIT  ?=
VENV    := .venv
BIN     := $(VENV)/bin
SOURCE  := $(if $(DATASET),$(DATASET),$(if $(DATA),folder:$(DATA),simulated))

export BCRS_DATA_DIR ?= data
export PYTHONUNBUFFERED = 1

.DEFAULT_GOAL := help
.PHONY: help run report segments test check ui sql replay docs lock clean thresholds dossier bench patterns

help:            ## show these targets
	@grep -hE '^[a-z]+: .*##|^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 20

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 14))' || \
	  { echo "B-CRS needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "Installing pinned dependencies into $(VENV) (once, about a minute) ..."
	@UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e .
	@echo "Parsing SQL and compiling kernels (once, about a minute) ..."
	@$(BIN)/bcrs prepare
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

run: $(VENV)/.run   ## set up, then the main job: PROFILE=, DATA= or DATASET=
	@$(BIN)/bcrs run --profile $(PROFILE) --source "$(SOURCE)"

report: $(VENV)/.run ## the main job if need be, then the evidence: PROFILE=, DATA= or DATASET=
	@$(BIN)/bcrs report --profile $(PROFILE) --source "$(SOURCE)"

segments: $(VENV)/.run ## segments, personas, policy and their page: CREDIT=<folder of german_credit>
	@$(BIN)/bcrs segments --profile $(PROFILE) --source "$(SOURCE)" $(if $(CREDIT),--credit "$(CREDIT)")

test: $(VENV)/.test ## set up, then lint, types, dbt parse, all tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/bcrs prepare
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.test ## lint and types only, runs nothing
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

ui: $(VENV)/.run    ## Dagster's UI on the instance the last run wrote
	@$(BIN)/bcrs ui

sql: $(VENV)/.run   ## open the marts in the DuckDB shell (readable while a run goes on)
	@$(BIN)/bcrs sql

replay: $(VENV)/.run ## rebuild a published score as of then: CLIENT= AS_OF=
	@$(BIN)/bcrs replay --client "$(CLIENT)" --as-of "$(AS_OF)"

dossier: $(VENV)/.run ## model dossier and monitoring page from the published marts
	@$(BIN)/bcrs dossier

thresholds: $(VENV)/.run ## above/below-the-line pack: CAPACITY= or COST_RATIO=, OUTCOMES=<csv>
	@$(BIN)/bcrs thresholds $(if $(CAPACITY),--capacity $(CAPACITY)) $(if $(COST_RATIO),--cost-ratio $(COST_RATIO)) $(if $(OUTCOMES),--outcomes "$(OUTCOMES)")

$(VENV)/.bench: $(VENV)/.run
	@UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench ## speed against peers on the same data: SIZES=1000000,10000000 PARTS=
	@$(BIN)/bcrs bench $(if $(SIZES),--sizes "$(SIZES)") $(if $(PARTS),--parts "$(PARTS)")

patterns: $(VENV)/.run ## recall of pattern detectors on published attempts: FOLDER=
	@$(BIN)/bcrs patterns --folder "$(FOLDER)"

docs: $(VENV)/.run  ## dbt docs of the warehouse
	@$(BIN)/bcrs docs

lock:               ## resolve the pins again (all extras, with hashes)
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --all-extras pyproject.toml -o constraints.txt

clean:              ## remove everything a run wrote; input folders stay untouched
	rm -rf data/landing data/warehouse data/serving data/models data/published data/replay data/reports data/dagster_home data/settings.json
