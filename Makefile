# make help lists the targets.

CARGO ?= cargo
SEED ?= 0

.PHONY: help setup test quickstart simulate conformance-etcd bench fmt clippy doc ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the tests need and is missing
	@scripts/setup.sh

test: setup ## Run all tests (under 15 minutes on 2 cores)
	$(CARGO) test --workspace --all-features
	$(CARGO) test --release -p registry-testing --test simulation
	$(CARGO) run --quiet --example quickstart

quickstart: ## Watch discovery at work, about 15 s
	$(CARGO) run --example quickstart

simulate: ## Play one seed of the simulation: make simulate SEED=42
	$(CARGO) run --release -p registry-testing --example simulate -- $(SEED)

conformance-etcd: setup ## The conformance suite on a real etcd (in progress: two promises are open), about 45 s; needs root
	$(CARGO) test -p registry-etcd --test conformance -- --test-threads=12

bench: ## Run the benchmarks
	$(CARGO) bench -p benches

fmt: ## Check the format
	$(CARGO) fmt --all --check

clippy: ## Lint, warnings are errors
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

doc: ## Build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

ci: setup fmt clippy doc test ## What every change must pass (under 25 minutes on 2 cores)
