# One entry point for people and for CI. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DEFAULT_GOAL := help

# The Go that is installed, never one that it downloads: a test run must say what it ran on.
export GOTOOLCHAIN := local

# Tools, pinned. The version is part of the file name, so that a bump installs the new one.
GOLANGCI_LINT_VERSION := v2.15.0
WORKFLOWCHECK_VERSION := v0.6.0
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da

TMP := $(CURDIR)/.tmp
BIN := $(TMP)/bin
GOLANGCI_LINT := $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
WORKFLOWCHECK := $(BIN)/workflowcheck-$(WORKFLOWCHECK_VERSION)

# Every module of this repository; the dependencies of samples/ and of the command stay out of the library's go.mod.
MODULES ?= . samples cmd/slipstream

# Knobs, all of them for the command line: make fuzz FUZZTIME=5m
TEST_FLAGS ?=
UNCACHED_PROGRAMS ?= 10
FUZZTIME ?= 20s
# Not samples/: fuzzing compiles every dependency with its instrumentation, the Temporal server too. Its seeds run as tests.
FUZZ_MODULES ?= .
BENCH ?= .
BENCH_COUNT ?= 6
BENCH_OUT ?= $(TMP)/bench.txt
BENCH_OLD ?= $(TMP)/bench-old.txt
BENCH_SUITE ?= quick
BENCH_FLAGS ?=
CHAOS_FLAGS ?=

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## Find what the tests need (Go, a C compiler, redis-server), or install it on Debian and Ubuntu
	@scripts/setup.sh

.PHONY: devserver
devserver: setup ## Compile the embedded Temporal server and what runs on it, so that no test's time-out pays for it
	@mkdir -p $(BIN)
	cd samples && go build -o $(BIN)/ ./devserver ./translate

# CI=true turns "no real Redis: skipped" into a failure. `setup` has just found one, so a skip would be a lie.
# TEMPORAL_DEBUG switches the SDK's deadlock detection off. A machine that stands still for a second is no deadlock; and
# what the SDK does after one, while the coroutine goes on, is a data race to -race.
TEST_ENV := CI=true TEMPORAL_DEBUG=true SLIPSTREAM_DEVSERVER=$(BIN)/devserver

.PHONY: test
test: test-library test-uncached test-samples test-cmd ## Run every test of every module with the race detector

.PHONY: test-library
test-library: setup devserver ## Run the library's tests alone
	$(TEST_ENV) go test -race -count=1 -timeout=10m $(TEST_FLAGS) ./...

# The cache is one per process, so that a run without it is a run of its own: every workflow task is a replay then.
.PHONY: test-uncached
test-uncached: setup devserver ## Run the random programs of workflow/ once more, without the sticky workflow cache
	$(TEST_ENV) SLIPSTREAM_CACHE=0 SLIPSTREAM_PROGRAMS=$(UNCACHED_PROGRAMS) \
		go test -race -count=1 -timeout=10m -run='^TestModel$$' ./workflow

.PHONY: test-samples
test-samples: setup devserver ## Run the samples' tests alone, end-to-end tests among them
	cd samples && $(TEST_ENV) go test -race -count=1 -timeout=20m $(TEST_FLAGS) ./...

.PHONY: test-cmd
test-cmd: setup devserver ## Run the command's tests alone
	cd cmd/slipstream && $(TEST_ENV) go test -race -count=1 -timeout=10m $(TEST_FLAGS) ./...

.PHONY: lint
lint: fmt-check vet workflowcheck $(GOLANGCI_LINT) ## Check formatting, go vet and golangci-lint in every module
	@status=0; for module in $(MODULES); do \
		echo "golangci-lint: $$module"; \
		(cd "$$module" && $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...) || status=$$?; \
	done; exit $$status

.PHONY: lint-fix
lint-fix: fmt $(GOLANGCI_LINT) ## Mend what golangci-lint can mend by itself
	@for module in $(MODULES); do \
		(cd "$$module" && $(GOLANGCI_LINT) run --fix --config $(CURDIR)/.golangci.yml ./...); \
	done

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.tmp/*')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt mends it):"; echo "$$unformatted"; exit 1; fi

.PHONY: fmt
fmt: ## Format every Go file
	@gofmt -w $$(find . -name '*.go' -not -path './.tmp/*')

.PHONY: vet
vet:
	@for module in $(MODULES); do echo "go vet: $$module"; (cd "$$module" && go vet ./...); done

.PHONY: workflowcheck
workflowcheck: $(WORKFLOWCHECK) ## Check workflow code for what a replay would do differently
	@echo "workflowcheck"
	@$(WORKFLOWCHECK) -test=false -config .workflowcheck.yml ./workflow ./samples/translate

$(WORKFLOWCHECK):
	@echo "installing workflowcheck $(WORKFLOWCHECK_VERSION)"
	@mkdir -p $(BIN)
	@GOWORK=off GOBIN=$(BIN) go install go.temporal.io/sdk/contrib/tools/workflowcheck@$(WORKFLOWCHECK_VERSION)
	@mv $(BIN)/workflowcheck $@

# Built by the installed Go (a linter built by an older one refuses newer code) and outside go.work, which would change its dependencies.
$(GOLANGCI_LINT):
	@echo "installing golangci-lint $(GOLANGCI_LINT_VERSION)"
	@mkdir -p $(BIN)
	@GOWORK=off GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(BIN)/golangci-lint $@

.PHONY: fuzz
fuzz: ## Run every fuzz target of the library in turn (FUZZTIME=20s each)
	@MODULES="$(FUZZ_MODULES)" FUZZTIME="$(FUZZTIME)" scripts/fuzz.sh

.PHONY: bench
bench: setup ## Run the benchmarks into BENCH_OUT (BENCH=regexp, BENCH_COUNT=6), ready for benchstat
	@mkdir -p $(dir $(BENCH_OUT))
	go test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(BENCH_COUNT) -timeout=60m ./... | tee $(BENCH_OUT)

.PHONY: benchstat
benchstat: ## Compare two benchmark files (BENCH_OLD with BENCH_OUT)
	@GOWORK=off go run golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION) $(BENCH_OLD) $(BENCH_OUT)

.PHONY: bench-samples
bench-samples: setup ## Measure against plain activities and other queues (BENCH_SUITE=seed|quick|full), reports in .tmp
	@mkdir -p $(TMP)
	cd samples && go run ./bench -suite $(BENCH_SUITE) -json $(TMP)/bench.json -html $(TMP)/bench.html $(BENCH_FLAGS)

.PHONY: chaos
chaos: setup ## Kill, stop, cut and wipe everything under thousands of workflows (CHAOS_FLAGS="-seeds 3", -short, -h)
	go run ./samples/chaos $(CHAOS_FLAGS)

.PHONY: tidy
tidy: ## Tidy go.mod and go.sum of every module
	@for module in $(MODULES); do (cd "$$module" && go mod tidy); done

.PHONY: clean
clean: ## Remove the tools and everything that a run left in .tmp
	@rm -rf $(TMP)
