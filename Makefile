# Every target makes .venv and installs what it needs when that is missing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
OUT ?= runs/quickstart

.PHONY: quickstart test lint format peers bench clean

quickstart: $(READY)  ## The whole system on this machine, in at most 8 minutes.
	$(BIN)/nonpareil quickstart --out $(OUT)

test: $(READY)  ## Every test that needs no GPU and no downloaded weights.
	$(BIN)/pytest -m "not gpu and not weights"

lint: $(READY)  ## Formatting, lint and types, changing nothing.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

peers: $(READY)  ## Other renderers, each in an environment of its own, for make bench.
	$(BIN)/python -m benchmarks.peers --install

bench: $(READY)  ## Every benchmark; tables on the terminal and in docs/, every row in docs/measured/.
	@mkdir -p runs/bench
	@for file in benchmarks/[a-z]*.py; do name=$$(basename $$file .py); \
	  $(BIN)/python -m benchmarks.$$name --json runs/bench/$$name.json || exit 1; done
	$(BIN)/python -m benchmarks runs/bench docs/*.md

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("nonpareil needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; run make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs build *.egg-info
