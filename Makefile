# make demo   everything needed, then a portrait speaks: out/first_words.mp4
# make test   everything needed, then the whole suite, notebooks included
# make lab    everything needed, then the workbench in JupyterLab

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
QUIET  := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo test lab setup voices browser clean

demo: setup
	$(QUIET) $(BIN)/python -m liveavatar demo

test: setup voices browser
	$(QUIET) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lab: setup
	$(QUIET) $(BIN)/python -m liveavatar lab

setup: $(STAMP)

# The last line lets librosa compile its kernels once (they are kept); otherwise the first sound would seem to hang.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, `$(PYTHON) --version` was found: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
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
