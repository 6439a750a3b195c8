# Every target makes .venv and installs what it needs when that is missing.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/quickstart
# Written last, so that an install which was cut off or failed starts again. What the tests need
# includes what the quickstart needs.
DEV := .venv/.ready-dev
RUN := $(if $(wildcard $(DEV)),$(DEV),.venv/.ready-quickstart)

.PHONY: quickstart test lint format peers bench clean

quickstart: $(RUN)  ## The whole system on this machine, in at most 8 minutes once installed.
	$(BIN)/nonpareil quickstart --out $(OUT)

test: $(DEV)  ## Every test that needs no GPU and no downloaded weights, on up to four cores.
	$(BIN)/pytest -m "not gpu and not weights" -n logical --maxprocesses 4 --dist worksteal

lint: $(DEV)  ## Formatting, lint and types, changing nothing.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

peers: $(DEV)  ## Other renderers, each in an environment of its own, for make bench.
	$(BIN)/python -m benchmarks.peers --install

bench: $(DEV)  ## Every benchmark; tables on the terminal and in docs/, every row in docs/measured/.
	@mkdir -p runs/bench
	@for file in benchmarks/[a-z]*.py; do name=$$(basename $$file .py); \
	  $(BIN)/python -m benchmarks.$$name --json runs/bench/$$name.json || exit 1; done
	$(BIN)/python -m benchmarks runs/bench docs/*.md

$(DEV): EXTRAS := dev
$(DEV): WEIGHS := 8 GB, 2 to 9 minutes: torch with its CUDA libraries, Ray, and what tests and types need
.venv/.ready-quickstart: EXTRAS := ocr,train
.venv/.ready-quickstart: WEIGHS := 7 GB, 2 to 8 minutes: 5.6 GB are torch with its CUDA libraries

.venv/.ready-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("nonpareil needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; run make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@echo "Installing nonpareil[$(EXTRAS)] into .venv, once (about $(WEIGHS))."
	@# What a killed install has left may be half a package that pip takes for whole.
	$(PYTHON) -m venv $$(test ! -e .venv/.installing || echo --clear) .venv
	@rm -f .venv/.ready* && touch .venv/.installing
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@rm .venv/.installing
	@touch $@

clean:
	rm -rf .venv runs build *.egg-info
