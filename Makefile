.DEFAULT_GOAL := help
PACKAGES := app worker models core candela
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Tests without processes and servers run two at a time; 5 is pytest's status for: none was chosen.
# A test that waited in vain for a real process is run once more and shown as such; one whose claim failed is not.
AGAIN := --reruns 1 --only-rerun 'waited [0-9.]+ s for'
TORCH := torch==2.14.1 torchvision==0.29.1

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## A virtual environment with everything, in .venv

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## Start everything, train on real pictures, predict, and stop again
	$(BIN)/candela demo

up: setup ## Keep the service running on http://127.0.0.1:8000
	$(BIN)/candela up

format: setup ## Write the one true layout
	$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

lint: setup ## Style, types and layers
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy $(PACKAGES) tests && $(BIN)/lint-imports --no-logo

test: setup ## Every test that a machine without a GPU can run, of the fault suite the quick part; T= narrows
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not gpu and not services and not clients" $(T) || [ $$? -eq 5 ]
	$(BIN)/pytest $(AGAIN) --durations 20 -m "(slow or services) and not gpu and (not faults or quick)" $(T) || [ $$? -eq 5 ]

test-fast: setup ## The unit and contract tests only
	$(BIN)/pytest -m "not slow and not gpu and not services and not clients" $(T)

oip-clients: setup ## KServe's and MLServer's own clients, in environments of their own, against /v2
	$(BIN)/pytest -m clients tests/oip_clients $(T)

faults: setup ## The whole fault suite: kills, frozen processes, dead servers; ends with a table; T= narrows
	$(BIN)/pytest $(AGAIN) -m faults $(T)

soak: setup ## Tiny jobs and random kills for T=600 seconds, then what was lost
	$(BIN)/python -m tests.faults.soak --seconds $(or $(T),600)

migration: setup ## m="what changed"
	$(BIN)/alembic revision --autogenerate -m "$(m)"

openapi: setup ## Write docs/reference/openapi.json anew; a test compares it with the service
	$(BIN)/python -m app.export_openapi docs/reference/openapi.json

check: lint test ## What CI asks for

.PHONY: help setup demo up format lint test test-fast oip-clients faults soak migration openapi check
