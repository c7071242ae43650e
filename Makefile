PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test check format docs bench campaign power-cut clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

run: $(STAMP) ## Start a node on 127.0.0.1:11112 with its data in ./data
	@$(BIN)/pacslite serve --data ./data

test: $(STAMP) ## Run the tests
	@$(BIN)/python -m pytest -n auto

check: $(STAMP) ## Format, lint, types, layers, generated docs, tests with coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pacslite.cli.docs --check
	$(BIN)/python -m pytest -n auto --cov --cov-report=term:skip-covered --cov-fail-under=90

format: $(STAMP) ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## Write the generated pages of docs/
	$(BIN)/python -m pacslite.cli.docs

bench: $(STAMP) ## Compare with the peers installed on this machine
	$(BIN)/python -m bench

campaign: $(STAMP) ## The long campaigns: kills, disk failures, hostile bytes
	$(BIN)/python -m pytest -n 2 -m campaign

power-cut: $(STAMP) ## Cut the power of a simulated disk under the node: root, FUSE and loop devices
	$(BIN)/python -m pytest -n 0 -m campaign tests/power

clean: ## Remove what the build made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
