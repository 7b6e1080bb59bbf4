# Two commands for everybody: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PROCESSES ?= 2
FAIRSEQ2 := .venv-fairseq2

.PHONY: help setup demo test test-hub faults fuzz hostile check lint types rows docs format clean test-fairseq2

help:  ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP)  ## Set up .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "speechtok needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## Run the main job on the shipped clips: corpus, Ray, Parquet, verify, decode, report
	$(BIN)/speechtok demo demo-out

test: $(STAMP)  ## Run all tests: those without Ray two files at a time, then those with
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not ray and not types" --numprocesses $(PROCESSES) --dist loadfile
	$(BIN)/python -m pytest -q -m ray

test-hub: .venv-hub/.installed  ## Run the tests of the Hub with the oldest client that is supported
	PYTHONPATH=. .venv-hub/bin/python -m pytest -q tests/publish

.venv-hub/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-hub
	grep -vE '^(huggingface_hub|hf-xet|datasets|fsspec|dill|multiprocess)==' constraints.txt > .venv-hub/constraints.txt
	.venv-hub/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-hub/constraints.txt \
		-e . 'huggingface_hub==0.36.2' 'datasets==4.8.5' hf_xet hypothesis pytest pytest-timeout
	touch $@

faults: fuzz  ## Break jobs for half an hour: damaged audio, lost workers, nodes and drivers, full disks, S3 errors
	$(BIN)/python tests/faults/campaign.py --trials 36 --log benchmarks/results/faults-$$(date +%F).jsonl
	$(BIN)/python tests/faults/campaign.py --annotating --trials 20 --log benchmarks/results/faults-annotating-$$(date +%F).jsonl

fuzz: $(STAMP)  ## Tokenize 750 damaged recordings, and those of the folder FUZZ_ALSO
	$(BIN)/python tests/faults/fuzz.py $(if $(FUZZ_ALSO),--also $(FUZZ_ALSO)) --log benchmarks/results/fuzz-$$(date +%F).jsonl

hostile: $(STAMP)  ## Give every command hundreds of hostile inputs, for half an hour
	$(BIN)/python tests/hostile/campaign.py --log benchmarks/results/hostile-$$(date +%F).jsonl

test-fairseq2: $(FAIRSEQ2)/.installed  ## Test the bridge to fairseq2, in its own environment (8 GB)
	OMP_NUM_THREADS=1 $(FAIRSEQ2)/bin/python -m pytest -q tests/fairseq2 tests/lm tests/shards tests/test_tokens.py

# fairseq2 loads the system's libsndfile; the one that soundfile brings will do where it finds it.
$(FAIRSEQ2)/.installed: pyproject.toml constraints-fairseq2.txt
	$(PYTHON) -m venv $(FAIRSEQ2)
	$(FAIRSEQ2)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-fairseq2.txt \
		-e '.[fairseq2,datasets,filter]' hypothesis pytest pytest-timeout torchdata
	bundled=$$($(FAIRSEQ2)/bin/python -c 'import glob, os, _soundfile_data as d; print(*glob.glob(os.path.dirname(d.__file__) + "/*.so"))'); \
		[ -z "$$bundled" ] || ln -sf "$$bundled" $(FAIRSEQ2)/lib/libsndfile.so.1
	touch $@

check: lint types rows docs  ## Everything but the tests; shared by pre-commit and CI

lint: $(STAMP)  ## Check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## Check types, and those that users of the wheel see
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m types tests/test_wheel.py

rows: $(STAMP)  ## Check that imports point downwards only
	$(BIN)/lint-imports

docs: $(STAMP)  ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(STAMP)  ## Put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what the targets made
	rm -rf .venv .venv-hub $(FAIRSEQ2) site demo-out .mypy_cache .ruff_cache .pytest_cache
