# On a fresh machine any target may be the first command ever typed: each sets up $(VENV) when it is missing or stale.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Files that a reader opens in notebook 06 travel in one message, which JupyterLab cuts off at 10 MiB by default.
UPLOADS := "--ServerApp.tornado_settings={'websocket_max_message_size': 134217728}"

# Tests and notebooks beside each other: a process for each CPU, but each needs a gigabyte.
BESIDE := -n logical --maxprocesses 4 --dist worksteal

COMPRESSAI := .venv-compressai

# What must not depend on versions; `make unit` runs it under the newest.
OLDEST := .venv-oldest
EXACT := $(addprefix tests/test_,environments.py golden.py exact.py entropy.py metrics.py containers.py quantise.py)

.PHONY: help setup test check unit fast-notebooks notebooks lab weights codec results learned peers ladder ablation bench bench-gpu compressai fuzz kill test-oldest audit long full-data coverage mutants explorer gif slider readme clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-16s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make the environment with aelib and all that it needs

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"aelib needs Python 3.11 or newer, this is {sys.version}"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

test: check unit fast-notebooks ## everything that CI checks

check: setup ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: setup ## unit, property, structural and browser tests
	$(BIN)/python -m pytest $(BESIDE)

fast-notebooks: setup ## every notebook, shortened, on the bundled sample, without network; outputs are not kept
	PYTHONPATH=$(CURDIR)/tests/offline OMP_NUM_THREADS=1 AELIB_FAST=1 AELIB_SOURCE=sample $(BIN)/python -m pytest $(BESIDE) --nbmake --nbmake-timeout=600 notebooks

notebooks: setup ## every notebook in full on the real data; outputs are written back
	$(BIN)/python notebooks/execute.py
	$(BIN)/python benchmarks/readme.py

lab: setup ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks $(UPLOADS)

weights: setup ## train all shipped bottleneck autoencoders again (hours on two cores; goes on where it was stopped)
	$(BIN)/python -m aelib.pretrain

results: setup ## measure all codecs and models on the full test sets, for results/*.json (goes on where it was stopped)
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/readme.py

peers: setup ## measure the entropy coder beside constriction and AVIF at other settings, for results/entropy.json and avif.json
	-$(BIN)/python -m pip install --quiet --only-binary :all: constriction
	$(BIN)/python benchmarks/entropy.py
	$(BIN)/python benchmarks/avif.py
	$(BIN)/python benchmarks/readme.py

codec: setup ## train the learned codecs again, each in one run (for a GPU; goes on where it was stopped)
	$(BIN)/python -m aelib.train_codec cifar10 --bfloat16
	$(BIN)/python -m aelib.train_codec mnist --bfloat16

learned: setup ## measure the learned codec's parts, photographs and training, for results/learned_ablation.json and others
	$(BIN)/python benchmarks/photographs.py
	$(BIN)/python benchmarks/learned_ablation.py
	$(BIN)/python benchmarks/learned_training.py
	$(BIN)/python benchmarks/readme.py

ladder: setup ## gather quality by bottleneck size from the cards, for results/ladder.json
	$(BIN)/python benchmarks/ladder.py
	$(BIN)/python benchmarks/readme.py

ablation: setup ## train the residual network with one thing changed at a time, for results/ablation.json (half an hour; goes on where it was stopped)
	$(BIN)/python benchmarks/ablation.py
	$(BIN)/python benchmarks/readme.py

bench: setup ## measure speed, memory and their growth beside peers, for results/bench.json (minutes, on a machine that rests)
	-$(BIN)/python -m pip install --quiet --only-binary :all: constriction
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/readme.py

bench-gpu: setup ## measure training on a GPU, for results/bench_gpu.json
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/readme.py

compressai: ## install CompressAI, a peer of `make bench`, in an environment of its own (Python 3.11 or 3.12; gigabytes)
	$(PYTHON) -m venv $(COMPRESSAI)
	$(COMPRESSAI)/bin/python -m pip install --only-binary :all: compressai

fuzz: setup ## feed 100,000 damaged streams or files to every decoder and loader, for results/fuzz.json (an hour or more; goes on where it was stopped)
	$(BIN)/python benchmarks/fuzz.py

kill: setup ## kill training, weights, results and caches at random points, and go on (a quarter of an hour)
	$(BIN)/python -m pytest -m kill tests/test_kill.py

test-oldest: ## streams, whole numbers and losses under the oldest packages allowed, in an environment of its own (Python 3.11 or 3.12; gigabytes)
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) benchmarks/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --constraint $(OLDEST)/oldest.txt --editable '.[dev]'
	$(OLDEST)/bin/python -m pytest $(EXACT)

long: setup ## ten thousand rounds of the codecs, twenty fits and a thousand moves of the slider: memory flat (minutes)
	$(BIN)/python -m pytest -m long tests/test_long.py
	$(BIN)/python -m pytest tests/test_widgets.py -k thousand_moves

full-data: setup ## tests on the full data sets: figures of cards and results measured again, sources of the data (minutes)
	$(BIN)/python -m pytest -m full_data

coverage: setup ## lines of aelib that the tests run; fails under 95 %
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report --skip-covered --show-missing

mutants: setup ## change entropy coder, metrics and rate accounting in hundreds of ways, and count what their tests find; fails under 90 %
	rm -rf mutants  # else mutmut keeps what earlier tests found
	$(BIN)/python -m mutmut run
	$(BIN)/python benchmarks/mutants.py

audit: setup ## known vulnerabilities of the packages in $(VENV), by pip-audit in an environment of its own; fails where a package cannot be looked up
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > .venv-audit/frozen.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement .venv-audit/frozen.txt

explorer: setup ## write explorer.html, the slider in one file that needs no kernel and no network
	$(BIN)/python -m aelib.explorer explorer.html

gif: setup ## draw the animated picture of README.md
	$(BIN)/python benchmarks/gif.py

slider: setup ## measure how soon the slider answers, for results/slider.json (minutes, on a machine that rests)
	$(BIN)/python benchmarks/slider.py

readme: setup ## draw the tables of README.md from the weight cards and results
	$(BIN)/python benchmarks/readme.py

clean: ## remove the environment and caches, keep data, weights and results
	rm -rf $(VENV) $(OLDEST) $(COMPRESSAI) .venv-audit mutants .mypy_cache .pytest_cache .ruff_cache build dist aelib.egg-info
