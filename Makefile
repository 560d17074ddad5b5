# Two commands do all: `make demo` sets up and runs the main job, `make test` sets up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Editors and type checkers follow a path, not the import hook of an editable install.
EDITORS = $(BIN)/python -c "import pathlib, sysconfig; \
	pathlib.Path(sysconfig.get_path('purelib'), 'limitlens-source.pth').write_text('$(CURDIR)/typings\n')"

.PHONY: help demo docs test quick lint dist clean constraints

help:
	@echo "make demo   set up, then run the whole job on a simulated portfolio (a minute or two)"
	@echo "make test   set up, then lint, type-check and test everything (about twenty minutes)"
	@echo "make quick  lint, types and the tests under a second each (about a minute)"
	@echo "make docs   set up, then build the documentation site, build/docs/index.html (about two minutes)"
	@echo "make dist   build the source archive, and from it the wheel, into dist"
	@echo "make clean  remove the environment, the demo, the site and dist"

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "== setting up $(VENV) (once, one to two minutes)"
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("limitlens needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@$(EDITORS)
	@touch $@

$(VENV)/.ready: $(VENV)/.installed
	@echo "== adding what development needs (once, a minute)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	@echo "== adding what the site needs (once, half a minute)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

demo: $(VENV)/.installed
	@echo "== the main job: events in, limit changes explained out"
	$(BIN)/limitlens demo demo

lint: $(VENV)/.ready
	@echo "== lint and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	@echo "== tests, doctests and notebooks"
	$(BIN)/pytest tests --nbmake notebooks --numprocesses 2 --dist worksteal --durations 25
	@echo "== all passed; open next: README.md, or run make demo"

quick: lint
	@echo "== the tests that take less than a second"
	$(BIN)/pytest tests --quick --numprocesses 2

SITE = $(BIN)/sphinx-build --builder html --conf-dir docs/site --fresh-env --fail-on-warning --keep-going --quiet

docs: $(VENV)/.docs
	@echo "== the site in both languages, warnings are errors"
	$(BIN)/python -m doctest docs/site/languages.py docs/site/lists.py
	rm -rf build/docs
	@# Both languages at once, a CPU each; it fails if either does.
	$(SITE) --doctree-dir build/doctrees/en . build/docs & english=$$!; \
	$(SITE) --doctree-dir build/doctrees/zh --tag zh . build/docs/zh; chinese=$$?; \
	wait $$english && exit $$chinese
	@echo "== built: build/docs/index.html"

dist: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build --outdir dist

constraints: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --no-annotate --no-header --extra dev --extra docs --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) demo build/docs build/doctrees dist
