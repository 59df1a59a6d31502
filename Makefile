# make demo   everything needed, then a portrait speaks: out/first_words.mp4
# make test   everything needed, then the whole suite, notebooks included
# make lint   everything needed, then the style of the code and its types, and the scripts where Node.js is there
# make lab    everything needed, then the workbench in JupyterLab
# make docs   everything needed, then the site of the API in out/docs, without a network
#
# PYTHON=python3.12       which Python; left out, the first that fits: 3.11 to 3.13
# TORCH_INDEX=URL         where the build of torch comes from; $(CPU_INDEX) has the small one, for CPUs alone
# VENV=.venv              where everything is installed
# VOICES=                 no synthetic voices: else espeak-ng comes with pip, which is under the GPL-3.0

CPU_INDEX := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV   ?= .venv
VOICES ?= espeakng-loader
BIN    := $(VENV)/bin
BIOME  := node_modules/.bin/biome
STAMP  := $(VENV)/.stamp
QUIET  := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false

FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
NAMES := python3 python3.13 python3.12 python3.11 python $(HOME)/.pyenv/versions/3.1[123].*/bin/python
PYTHON ?= $(shell for one in $(NAMES) "$$(uv python find '>=3.11,<3.14' 2>/dev/null)"; do \
	"$$one" -c '$(FITS)' 2>/dev/null && { echo "$$one"; break; }; done)

.PHONY: demo test lint lint-scripts lab docs setup voices browser clean

demo: setup
	$(QUIET) $(BIN)/python -m liveavatar demo

test: setup voices browser
	$(QUIET) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile

lint: setup lint-scripts
	$(BIN)/ruff check .
	$(BIN)/mypy

# Biome comes with npm, once, in the version of package-lock.json. Without it everything else is still checked.
lint-scripts:
	@if command -v npm >/dev/null && ! [ node_modules/.package-lock.json -nt package-lock.json ]; then \
		npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=0 --fetch-timeout=20000 >/dev/null 2>&1; fi; \
	if $(BIOME) --version >/dev/null 2>&1; then $(BIOME) lint --error-on-warnings; \
	else echo "Scripts are not linted: that takes Node.js with npm, and a network the first time."; fi

lab: setup
	$(QUIET) $(BIN)/python -m liveavatar lab

docs: setup
	$(BIN)/python docs/build_api.py out/docs

setup: $(STAMP)

# An environment that works stays as it is: with another Python laid over it, it would hold parts of two.
# The last line lets librosa compile its kernels once (they are kept); otherwise the first sound would seem to hang.
$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(FITS)' 2>/dev/null; then \
		echo "Python 3.11, 3.12 or 3.13 with its venv module is needed, $(or $(PYTHON),none) does not fit."; \
		echo "Install one (Debian: apt-get install python3-venv; macOS: brew install python@3.13; anywhere:"; \
		echo "uv python install 3.13), and name it where it is not found: make PYTHON=/path/to/python3.13"; exit 1; fi
	@echo "Setting up $(VENV) with $(PYTHON), once; it takes a few minutes."
	@if [ -n "$(TORCH_INDEX)" ]; then echo "torch comes from $(TORCH_INDEX)"; \
	elif [ "$$(uname -s)" = Linux ]; then \
		echo "Where pip is not set up otherwise, it takes the build of torch with CUDA: 6 GB on disk in all."; \
		echo "Without an NVIDIA GPU 2 GB will do: stop this, then: make $(MAKECMDGOALS) TORCH_INDEX=$(CPU_INDEX)"; \
	else echo "It takes about 2 GB on disk."; fi
	$(BIN)/python -c '$(FITS)' 2>/dev/null || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_INDEX:%=--extra-index-url %) -c constraints.txt -e ".[test]"
	@[ -z "$(VOICES)" ] || $(BIN)/python -m pip install --quiet -c constraints.txt $(VOICES) || \
		echo "pip has no synthetic voice for this machine: recordings can be used, --text cannot, unless espeak-ng is there"
	$(BIN)/python -c 'import librosa, numpy as np; w = np.ones(16000, "f4"); librosa.feature.melspectrogram(y=librosa.resample(w, orig_sr=16000, target_sr=8000), sr=8000)'
	touch $(STAMP)

# Two small speech programs. Without them the tests that need a synthetic voice are skipped and say so.
voices:
	@if command -v espeak-ng >/dev/null && command -v flite >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq espeak-ng flite >/dev/null || \
		echo "espeak-ng and flite could not be installed: tests with synthetic voices will be skipped"; \
	else \
		echo "espeak-ng or flite is missing: tests with synthetic voices will be skipped."; \
		echo "To run them too: sudo apt-get install espeak-ng flite   (macOS: brew install espeak-ng flite)"; \
	fi

# The browser that opens the notebooks as a person would. Without it those tests are skipped and say so.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null || \
		echo "chromium could not be installed: tests in a real browser will be skipped"; \
	else \
		echo "chromium is missing: tests in a real browser will be skipped. To run them too: sudo apt-get install chromium"; \
	fi

clean:
	rm -rf $(VENV) out
