# What one types here. `make study` and `make test` set themselves up; the rest is for developers.

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS = 1

.PHONY: help study notebooks service service-stop service-status service-packages \
	test test-slow test-service lint format bench install clean

help: ## Show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

study: install ## Run the symbol-length study at the size of a laptop: two to five minutes
	$(BIN)/python studies/symbol_length.py --preset laptop

notebooks: install ## Run the notebooks on the studies in ~/rnn-studies, into docs/notebooks
	$(BIN)/python -m nbconvert --execute --to markdown --output-dir docs/notebooks notebooks/*.ipynb
	for page in docs/notebooks/*.md; do \
	  sed '/<style scoped>/,/<\/style>/d' $$page > $$page.new && mv $$page.new $$page; done
	$(BIN)/ruff format --quiet docs/notebooks

service: install ## Start the service that a group shares; FLAGS="--help" lists its settings
	$(BIN)/python -m cluster.service start $(FLAGS)

service-stop: install ## End it; data stays
	$(BIN)/python -m cluster.service stop $(FLAGS)

service-status: install ## Say which of its parts are well
	$(BIN)/python -m cluster.service status $(FLAGS)

service-packages: ## Install what the service needs of Debian: PostgreSQL; as root
	apt-get update && apt-get install --yes postgresql

test: install ## Run the test suite
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-slow: install ## Run the tests that take minutes each
	$(BIN)/python -m pytest -m slow

test-service: install ## Run the service for real: two jobs, a notebook, a stop and a start
	$(BIN)/python -m pytest -m slow tests/studies/test_service.py

lint: install ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Put the code into the project's form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: install ## Measure what a study costs beside its training
	$(BIN)/python benchmarks/overhead.py

install: .venv/installed ## Make .venv with the pinned versions; quick when there is nothing to do

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...' >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean: ## Remove .venv and what tools left
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache
