# make help lists the targets.

CARGO ?= cargo
SEED ?= 0

.PHONY: help setup test test-stores test-etcd test-redis conformance-etcd conformance-redis test-etcd-promises test-redis-promises quickstart simulate images containers containers-if-docker bench fmt clippy doc ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the tests need and is missing
	@scripts/setup.sh

test: setup ## Run all tests (under 15 minutes on 2 cores)
	$(CARGO) test --workspace --all-features
	$(MAKE) test-stores
	$(CARGO) test --release -p registry-testing --test simulation
	$(CARGO) run --quiet --example quickstart

RUN = CARGO="$(CARGO)" scripts/run-test.sh
ETCD_3_5 = $${ETCD_35:-$(CURDIR)/target/tools/etcd-3.5}/etcd
VALKEY = $${VALKEY_81:-$(CURDIR)/target/tools/valkey-8.1}/valkey-server
# What measures time, or needs much of the machine, has it to itself.
HEAVY = cluster:: scale:: idle::

test-stores: setup ## The suite and the further promises on real etcd and Redis (11 minutes)
	$(MAKE) --jobs 2 --output-sync=target conformance-etcd conformance-redis
	$(MAKE) test-etcd-promises
	REGISTRY_TEST_ETCD=$(ETCD_3_5) $(MAKE) test-etcd-promises
	$(MAKE) test-redis-promises

test-etcd: setup conformance-etcd ## The same on etcd 3.4 and 3.5 alone
	$(MAKE) test-etcd-promises
	REGISTRY_TEST_ETCD=$(ETCD_3_5) $(MAKE) test-etcd-promises

test-redis: setup conformance-redis ## The same on Redis 7 and 8 and Valkey alone
	$(MAKE) test-redis-promises
	REGISTRY_TEST_REDIS=$(VALKEY) $(MAKE) test-redis-promises

# They mostly wait, so they have more threads than there are cores.
conformance-etcd conformance-redis:
	$(RUN) $(@:conformance-%=registry-%) conformance --test-threads=6

test-etcd-promises:
	$(RUN) registry-etcd promises --test-threads=4 $(HEAVY:%=--skip %)
	$(RUN) registry-etcd promises --test-threads=1 $(HEAVY)

test-redis-promises:
	$(RUN) registry-redis promises --test-threads=4 $(HEAVY:%=--skip %)
	$(RUN) registry-redis promises --test-threads=1 $(HEAVY)

quickstart: ## Watch discovery at work, about 15 s
	$(CARGO) run --example quickstart

simulate: ## Play one seed of the simulation: make simulate SEED=42
	$(CARGO) run --release -p registry-testing --example simulate -- $(SEED)

images: setup ## Build images for tests in containers, out of the installed programs
	@scripts/images.sh

containers: images ## Test on servers in containers (3 minutes); fails without a Docker engine
	$(CARGO) test --workspace --all-features --no-fail-fast --test containers -- --test-threads 6

containers-if-docker: ## The same, or one line that says that it is not done
	@if docker info >/dev/null 2>&1; then \
		$(MAKE) containers; \
	else \
		echo "containers: not run, since no Docker engine answers"; \
	fi

bench: ## Run the benchmarks
	$(CARGO) bench -p benches

fmt: ## Check the format
	$(CARGO) fmt --all --check

clippy: ## Lint, warnings are errors
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

doc: ## Build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

ci: setup fmt clippy doc test containers-if-docker ## What every change must pass (under 25 minutes on 2 cores)
