# make help lists the targets.

CARGO ?= cargo
SEED ?= 0

.PHONY: help setup test test-all test-programs test-simulation test-stores test-waiting test-grpc-daily test-grpc test-directory test-etcd test-redis conformance-etcd conformance-redis promises-etcd promises-etcd-3.5 promises-redis heavy-etcd heavy-redis quickstart simulate images containers containers-daily containers-if-docker claims claims-quick test-chaos chaos chaos-soak chaos-smoke chaos-faults bench bench-quick test-benches fmt clippy doc ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the tests need and is missing
	@scripts/setup.sh

SHELL = /bin/bash

# Runs some targets in turn, and says how long each took and how much of a processor it had, since there is a limit to all of them together.
timed = @$(foreach target,$(1),TIMEFORMAT="make $(target): %0R s, %P %% of a core"; time $(MAKE) --no-print-directory $(target) || exit;)

test: setup ## What every change is tested with (to come under 15 minutes on 2 cores; 20 the first time)
	$(call timed,test-programs test-stores test-simulation quickstart)

test-all: setup ## Every combination of servers and layouts, thousands of endpoints, containers, benchmarks once, and the chaos suite's own tests as well
	$(call timed,test-programs test-benches test-etcd test-redis test-directory test-grpc chaos-smoke test-chaos test-simulation quickstart containers)

test-programs: setup
	scripts/test-programs.sh 2

test-simulation:
	$(CARGO) test --release -p registry-testing --test simulation

RUN = CARGO="$(CARGO)" scripts/run-test.sh
ETCD_3_5 = $${ETCD_35:-$(CURDIR)/target/tools/etcd-3.5}/etcd
VALKEY = $${VALKEY_81:-$(CURDIR)/target/tools/valkey-8.1}/valkey-server
# What measures time, or needs much of the machine, has it to itself.
HEAVY_ETCD = cluster:: scale:: idle::
HEAVY_REDIS = scale::
# What mostly waits runs side by side, the longest first.
WAITING = conformance-redis conformance-etcd promises-etcd promises-etcd-3.5 promises-redis test-directory

test-stores: setup ## The suite and the further promises on real etcd and Redis (12 minutes)
	$(call timed,test-waiting heavy-etcd heavy-redis test-grpc-daily chaos-smoke)

# Every version and kind of deployment is there once for every change, and so is every layout and way to persist; each with each is in test-all.
COMBINED = go_zero:: json_on_3_5:: standalone_append_only::

test-waiting: setup
	$(MAKE) --jobs 2 --output-sync=target LEFT_OUT="$(COMBINED)" $(WAITING)

# Five thousand endpoints and a thousand channels over each store take a minute more than there is for every change: there it is 1,025 and a hundred, which
# over memory are done on the way to more.
MASSES = $(foreach store,etcd redis,--skip no_connection::over_$(store) --skip leave_nothing::over_$(store) --skip five_thousand::over_$(store)) \
	--skip no_trace::over_memory --skip can_have_work::over_memory --skip restart_in_go_zeros_layout

# What `make test` runs of the next one.
test-grpc-daily: setup
	$(RUN) service-registry grpc --test-threads=3 $(MASSES)

test-grpc: setup ## What gRPC clients and servers promise, over memory, etcd and Redis (3 minutes)
	$(RUN) service-registry grpc --test-threads=6

test-directory: setup ## What guarded views and views on disk promise, over memory, etcd and Redis (1 minute)
	$(RUN) service-registry directory --test-threads=4

test-etcd: setup ## The same on etcd 3.4 and 3.5 alone
	$(MAKE) conformance-etcd promises-etcd promises-etcd-3.5 heavy-etcd
	REGISTRY_TEST_ETCD=$(ETCD_3_5) $(MAKE) heavy-etcd

test-redis: setup ## The same on Redis 7 and 8 and Valkey alone
	$(MAKE) conformance-redis promises-redis heavy-redis
	REGISTRY_TEST_REDIS=$(VALKEY) $(MAKE) promises-redis heavy-redis

# They mostly wait, so they have more threads than there are cores.
conformance-etcd conformance-redis:
	$(RUN) $(@:conformance-%=registry-%) conformance --test-threads=7 $(LEFT_OUT:%=--skip %)

promises-etcd:
	$(RUN) registry-etcd promises --test-threads=4 $(HEAVY_ETCD:%=--skip %)

promises-etcd-3.5:
	REGISTRY_TEST_ETCD=$(ETCD_3_5) $(MAKE) promises-etcd

promises-redis:
	$(RUN) registry-redis promises --test-threads=6 $(HEAVY_REDIS:%=--skip %)

heavy-etcd:
	$(RUN) registry-etcd promises --test-threads=1 $(HEAVY_ETCD)

heavy-redis:
	$(RUN) registry-redis promises --test-threads=1 $(HEAVY_REDIS)

quickstart: ## Watch discovery at work, about 15 s
	$(CARGO) run --example quickstart

simulate: ## Play one seed of the simulation: make simulate SEED=42
	$(CARGO) run --release -p registry-testing --example simulate -- $(SEED)

images: setup ## Build images for tests in containers, out of the installed programs
	@scripts/images.sh

CONTAINERS = $(CARGO) test --workspace --all-features --no-fail-fast --test containers -- --test-threads 6

containers: images ## Test on servers in containers (3 minutes); fails without a Docker engine
	$(CONTAINERS)

# Of the suite what is about watches: all of it has been run on child processes.
containers-daily: images
	$(CONTAINERS) container::w end:: etcd:: redis:: redis_groups::

containers-if-docker: ## The most important of them, or one line that says that it is not done
	@if docker info >/dev/null 2>&1; then \
		$(MAKE) containers-daily; \
	else \
		echo "containers: not run, since no Docker engine answers"; \
	fi

claims: setup ## Why not Redis? All experiments, in under 60 minutes: target/claims/report.html
	$(CARGO) run --release -p comparisons -- claims

claims-quick: setup ## The same with fewer repetitions, in under 10 minutes
	$(CARGO) run --release -p comparisons -- claims --quick --out target/claims-quick

test-chaos: setup ## Test what the chaos suite is made of on real servers, and seeds that have found something (4 minutes); some of it needs root
	$(CARGO) test -p comparisons --test chaos_workload --test faults --test chaos_command --test chaos_kept

chaos: setup ## Every backend under every fault, once, then pairs, in under 60 minutes: target/chaos/report.html
	$(CARGO) run --release -p comparisons -- chaos --minutes 60

chaos-soak: setup ## Add what a record lacks, then further seeds, until Ctrl-C: target/chaos/report.html
	$(CARGO) run --release -p comparisons -- chaos --soak

# Of what make test has built.
chaos-smoke: setup ## Faults that bite watches on memory, etcd and Redis, one seed each (under 4 minutes)
	$(RUN) comparisons chaos_smoke --nocapture

chaos-faults: setup ## Every fault of the chaos suite bites on every backend, and is healed; needs root
	$(CARGO) test -p comparisons --test fault_sweep

BENCHES = $(CARGO) run --release -p benches --

# The page shows what there is, also where something could not run; then that is how it ends. Whoever interrupts it does not want the rest.
bench: setup ## What it costs beside the raw clients, measured, and how it grows, in an hour and a half: target/bench/report.html
	ended=0; $(BENCHES) criterion || ended=$$?; [ $$ended = 130 ] || $(BENCHES) bars || ended=$$?; $(BENCHES) page && exit $$ended

test-benches: setup ## Run what each of criterion's benchmarks measures, once, without measuring
	$(CARGO) bench -p benches -- --test

bench-quick: setup ## The same with fewer rounds and samples, in a quarter of an hour: target/bench-quick/report.html
	ended=0; $(BENCHES) criterion --quick || ended=$$?; [ $$ended = 130 ] || $(BENCHES) bars --quick || ended=$$?; $(BENCHES) page target/bench-quick && exit $$ended

fmt: ## Check the format
	$(CARGO) fmt --all --check

clippy: ## Lint, warnings are errors
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

doc: ## Build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

# Everything is compiled once there, so what helps to compile it again only costs time.
ci: export CARGO_INCREMENTAL = 0
ci: setup ## What every change must pass (to come under 25 minutes on 2 cores; 30 at present)
	$(call timed,fmt clippy doc test containers-if-docker)
