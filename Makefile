# The commands of the project. `make help` lists them; CONTRIBUTING.md explains the ones for developers.
PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-unit test-cluster cluster run-cluster cluster-stop lint format types bench gallery clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with everything needed to run (Python 3.11 to 3.13 is all it takes)
	@sh deployment/setup.sh

setup-dev: ## Add the tools for tests and development to .venv
	@sh deployment/setup.sh dev

run: setup ## Run the whole service in the foreground (RRM_PORT=9000 RRM_DATA=var; Ctrl-C stops it)
	@exec $(PY) manage.py run $(ARGS)

test: setup-dev ## Everything that has to pass: style, types, layers, schema, all tests on real services
	@exec $(PY) -m deployment.checks $(STEPS)

test-unit: setup-dev ## The fast tests only (seconds)
	@exec $(PY) -m pytest tests/unit

lint: setup-dev ## Style, format and import layers
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && .venv/bin/lint-imports

format: setup-dev ## Format the code and fix what can be fixed
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .

types: setup-dev ## Static types
	@$(PY) -m mypy

test-cluster: setup-dev ## The tests on a real Slurm cluster and SSH hosts alone
	@exec $(PY) -m deployment.checks services cluster

cluster: setup ## Start a small Slurm cluster and two SSH hosts on this machine, to try RRM with (as root)
	@exec $(PY) -m deployment.minicluster start $(ARGS)

run-cluster: setup ## The same, and the whole service with these as its sites
	@exec $(PY) -m deployment.minicluster run $(ARGS)

cluster-stop: setup ## Stop that cluster
	@exec $(PY) -m deployment.minicluster stop $(ARGS)

bench: setup-dev ## Benchmarks
	@exec $(PY) -m benchmarks $(ARGS)

gallery: setup ## Make the pictures of docs/gallery.md anew, through the service
	@exec $(PY) -m deployment.gallery $(ARGS)

clean: ## Remove caches and test results (.venv and var stay)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov test-results
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
