# make demo · make test · make real · make bench · make lint · make setup — each sets up what it needs in .venv.
#
# PYTHON=python3.12 picks the interpreter for a new .venv (3.11 or 3.12).
# TORCH=torch==2.13.0+cu130 picks another build of torch; a CUDA build that is already in .venv is kept.

PYTHON ?= python3
TORCH ?=
OUT ?= runs/demo
BIN := .venv/bin
SHELL := /bin/bash
LIBRARIES := libegl1 libusb-1.0-0 libgl1 libglib2.0-0

.PHONY: setup demo test real bench lint
.DELETE_ON_ERROR:

setup: .venv/installed

demo: setup
	$(BIN)/python run_pipeline.py demo --out $(OUT)

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -m "not real" -n 2 --dist loadfile

real: .venv/installed-dev
	@test -d ../shared/data || { echo "error: make real needs the captures in ../shared/data"; exit 1; }
	$(BIN)/python run_pipeline.py run configs/real/two_person_lab.yaml
	$(BIN)/python run_pipeline.py run configs/real/shelf.yaml
	$(BIN)/python -m pytest -m real

bench: .venv/installed-dev
	$(BIN)/python -m tests.benchmarks

lint: .venv/installed-dev
	$(BIN)/ruff check .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
	  { echo "error: Troupe runs on Python 3.11 and 3.12; make setup PYTHON=python3.11"; exit 1; }
	@test "$$(uname -sm)" = "Linux x86_64" || { echo "error: Troupe runs on Linux x86-64"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	@if [ -n "$(TORCH)" ]; then $(BIN)/pip install --quiet "$(TORCH)"; fi
	@if $(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is None)' 2>/dev/null || [ -n "$(TORCH)" ]; then \
	  grep -v '^torch==' requirements.txt > .venv/requirements.txt; else cp requirements.txt .venv/requirements.txt; fi
	@echo "installing Python packages into .venv (about 3 GB)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r .venv/requirements.txt
	@$(BIN)/python -c 'import cv2, open3d' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing system libraries: $(LIBRARIES)"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(LIBRARIES) >/dev/null; \
	  else echo "error: Open3D and OpenCV need system libraries; run: sudo apt-get install $(LIBRARIES)"; exit 1; fi; }
	@$(BIN)/python -c 'import cv2, open3d' || { echo "error: system libraries are missing: $(LIBRARIES)"; exit 1; }
	@$(BIN)/python -m data.open_body
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -r <(grep -v '^-r' requirements-dev.txt)
	@touch $@
