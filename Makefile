# Everything runs in .venv, which each target sets up as far as it needs it.
# Another Python: make PYTHON=python3.12 train

PYTHON ?= python3
OLDEST := $(shell sed -n 's/^min_python *= *//p' settings.ini)
BIN := .venv/bin
SAMPLE ?=
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help train test peers bench docs lab notebooks check mutants hooks clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

train: .venv/run  ## a network learns handwritten digits; its learning curves go to digits.png
	$(BIN)/python -m slugnet.examples.digits --save-figure digits.png

test: .venv/dev  ## every test: notebooks, ledger, package, website
	$(BIN)/python -m pytest tests -n 2 --dist load

peers: .venv/peers  ## install PyTorch, with which the tests in tests/peers compare; `make test` then runs them, too

bench: .venv/bench  ## time slugnet beside PyTorch and scikit-learn; draw the page "How fast, and why" from it
	@for name in mlp convolution layers transform threads growth roofline parts small choices page; do \
	$(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python nbs/_tools/notebooks.py execute speed

docs: .venv/dev  ## build the website in _docs
	$(BIN)/python nbs/_tools/site.py

lab: .venv/dev  ## open the notebooks in JupyterLab; PAGE=layers/dense opens that one
	PYTHONPATH=$(CURDIR) $(BIN)/jupyter lab --notebook-dir=nbs $(if $(PAGE),nbs/$(PAGE).ipynb)

notebooks: .venv/dev  ## execute all notebooks; number equations, clean, export, make README.md
	$(BIN)/python nbs/_tools/notebooks.py all

check: .venv/dev  ## what must hold besides the tests: exports, cleaning, numbers, ledger, style, links
	@status=0; run() { echo "$$*"; $(BIN)/"$$@" || status=1; }; \
	run python nbs/_tools/notebooks.py check; \
	run python nbs/_tools/ledger.py; \
	run ruff check --quiet --no-cache --select E4,E7,E9,F --ignore E721 slugnet tests nbs/_tools benchmarks setup.py; \
	run python nbs/_tools/site.py --if-stale; \
	run python nbs/_tools/site.py --check-links; \
	exit $$status

mutants: .venv/dev  ## change formulas one token at a time: do their notebooks notice? SAMPLE=40 for some
	$(BIN)/python nbs/_tools/mutants.py $(if $(SAMPLE),--sample $(SAMPLE)) --seed $(SEED)

hooks: .venv/dev  ## git hooks: no commit with an unclean notebook, merges of notebooks cell by cell
	install -m 755 nbs/_tools/pre-commit "$$(git rev-parse --git-path hooks)/pre-commit"
	git config merge.nbdev-merge.name "merge notebooks cell by cell"
	git config merge.nbdev-merge.driver "$(CURDIR)/$(BIN)/nbdev_merge %O %A %B %P"
	attributes="$$(git rev-parse --git-path info/attributes)"; line='*.ipynb merge=nbdev-merge'; \
	grep -qsxF "$$line" "$$attributes" || echo "$$line" >> "$$attributes"

clean:  ## remove everything that was made, .venv too
	rm -rf .venv _proc _docs _ledger _vendor build dist *.egg-info nbs/nbdev.yml nbs/sidebar.yml digits.png xor.png
	rm -rf .pytest_cache tests/.pytest_cache .hypothesis .ruff_cache
	find slugnet nbs tests -name __pycache__ -prune -exec rm -rf {} +
	find nbs -name .ipynb_checkpoints -prune -exec rm -rf {} +

# The stamps are newer than settings.ini when what it asks for is installed.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' || \
	{ echo "slugnet needs Python $(OLDEST) or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	"Name a newer one: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run: settings.ini setup.py | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/dev: settings.ini setup.py | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch .venv/run $@

.venv/peers: settings.ini setup.py .venv/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,peers]"
	touch $@

.venv/bench: settings.ini setup.py .venv/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,bench]"
	touch $@
