# The commands of this repository; `make help` lists them. Works with GNU make 3.81 and newer.

VENV := .venv
BIN := $(VENV)/bin
# `?=`: each of these may come from the command line (make app PORT=8061) or the environment (PORT=8061 make app).
HOST ?= 127.0.0.1
PORT ?= 8050

# A Python of your choice (make app PYTHON=python3.12); empty: the first on the path that is 3.11 or newer.
PYTHON ?=
# Take torch alone from another index (make app TORCH_INDEX=https://download.pytorch.org/whl/cpu).
TORCH_INDEX ?=
# Model folders to show (make app MODELS="path/to/model"); empty: the sample models.
MODELS ?=

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
APP_INSTALLED := $(VENV)/.app-installed
DEV_INSTALLED := $(VENV)/.dev-installed
# aeon wants older versions of numpy and pandas than everything else here.
SPEAKERS := .venv-speakers
FAST := not slow and not browser and not long

export TORCH_INDEX

.PHONY: help app test test-long test-speakers check format samples bench constraints browser
.NOTPARALLEL:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

app: $(APP_INSTALLED) ## install and serve the dashboard on http://127.0.0.1:8050
	$(BIN)/clsight app --host $(HOST) --port $(PORT) $(MODELS)

test: $(DEV_INSTALLED) browser ## install and run every test but the long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not long"

test-long: $(DEV_INSTALLED) ## run the tests that take too long for `make test`
	$(BIN)/python -m pytest -m long

test-speakers: $(SPEAKERS)/.installed ## run the tests that need aeon, in an environment of their own
	OMP_NUM_THREADS=1 $(SPEAKERS)/bin/python -m pytest -q tests/needs_aeon

check: $(DEV_INSTALLED) ## format, lint, types, import direction, fast tests: under two minutes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py -k stage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "$(FAST)"

format: $(DEV_INSTALLED) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

samples: $(DEV_INSTALLED) ## train the sample models again
	$(BIN)/python sample_models/train.py
	$(BIN)/python sample_models/find_digit.py

bench: $(APP_INSTALLED) ## measure the overhead of a capture against the plain forward pass
	$(BIN)/python benchmarks/overhead.py

constraints: $(DEV_INSTALLED) ## write constraints.txt anew from the newest versions
	$(BIN)/python tools/write_constraints.py

browser: $(DEV_INSTALLED)
	@$(BIN)/python tools/browsers.py

$(BIN)/pip:
	@sh tools/create_venv.sh $(VENV) $(PYTHON)

$(APP_INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing clsight and the dashboard into $(VENV); this takes some minutes the first time."
	@$(if $(TORCH_INDEX),$(PIP_INSTALL) --no-deps --index-url $(TORCH_INDEX) torch)
	@$(PIP_INSTALL) -e '.[app]'
	@touch $@

$(DEV_INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing clsight and what its tests need into $(VENV); this takes some minutes the first time."
	@$(if $(TORCH_INDEX),$(PIP_INSTALL) --no-deps --index-url $(TORCH_INDEX) torch)
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(APP_INSTALLED) $@

$(SPEAKERS)/.installed: pyproject.toml constraints.txt constraints-speakers.txt
	@test -x $(SPEAKERS)/bin/pip || sh tools/create_venv.sh $(SPEAKERS) $(PYTHON)
	@echo "Installing clsight and aeon into $(SPEAKERS); this takes a minute or two the first time."
	@awk -F '==' 'NR == FNR { own[$$1] } FNR == NR || !($$1 in own)' constraints-speakers.txt constraints.txt > $(SPEAKERS)/constraints.txt
	@$(if $(TORCH_INDEX),$(SPEAKERS)/bin/python -m pip install --quiet --disable-pip-version-check -c $(SPEAKERS)/constraints.txt --no-deps --index-url $(TORCH_INDEX) torch)
	@$(SPEAKERS)/bin/python -m pip install --quiet --disable-pip-version-check -c $(SPEAKERS)/constraints.txt -e '.[speakers]' hypothesis pytest pytest-timeout
	@touch $@
