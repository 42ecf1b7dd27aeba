# The two commands: `make demo` and `make test`. Both set up .venv first.
VENV := .venv
PYTHON ?= python3
# uv makes the environment; it is installed aside, so that nothing of the system's Python changes.
UV := PYTHONPATH=.tools $(PYTHON) -m uv

.PHONY: setup demo test test-heavy check format lock clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	test -e .tools/uv || $(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv==0.13.8
	test -e $(VENV)/bin/python || $(UV) venv --quiet --no-python-downloads --python ">=3.11,<3.13" $(VENV)
	$(UV) pip sync --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	touch $@

# The main job at toy size: three systems answer DreamBench's prompts for three real subjects, on Ray.
ANYBENCH := $(VENV)/bin/anybench
IMAGES := color_hist,dino-tiny,clip_i-tiny
DEMO := $(ANYBENCH) run dreambench-mini --store store \
	--weights dino-tiny=build/dino-tiny --weights clip-tiny=build/clip-tiny

demo: setup build/stable-unclip-tiny build/dino-tiny build/clip-tiny
	$(DEMO) --system oracle --metrics $(IMAGES)
	$(DEMO) --system copy_input --metrics $(IMAGES),clip_t-tiny
	$(DEMO) --system diffusers --metrics $(IMAGES),clip_t-tiny --checkpoint build/stable-unclip-tiny --set steps=4
	@echo
	$(ANYBENCH) leaderboard dreambench-mini --store store
	@echo "outputs: store/runs/   look at all runs in MLflow: $(VENV)/bin/mlflow ui --backend-store-uri sqlite:///store/mlflow.db"

build/%-tiny: | setup
	$(ANYBENCH) init $*-tiny $@

test: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

test-heavy: setup
	$(VENV)/bin/python -m pytest -m heavy

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock:
	$(UV) pip compile --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate \
		requirements.in -o requirements.lock

clean:
	rm -rf $(VENV) .tools build store
