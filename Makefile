# Everything starts here; `make` alone lists it. Long steps say so, and put their output into target/log/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# CLUSTER=current is the cluster of the caller's own KUBECONFIG; otherwise it is the local one, and no
# command of ours can reach another. K8S chooses the local one's version.
ifeq ($(CLUSTER),current)
export PATH := $(PATH):$(CURDIR)/target/cluster/bin
else
export KUBECONFIG := $(CURDIR)/target/cluster/kubeconfig
export PATH := $(CURDIR)/target/cluster/bin:$(PATH)
endif

quietly := tests/cluster/quietly

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  CLUSTER=current  use the cluster of your own KUBECONFIG; images go to IMAGE_REGISTRY=...'
	@echo '  K8S=1.37         the version of the local cluster: 1.37 or 1.34'

.PHONY: demo
demo: setup images install ## the story on a real cluster; WORKFLOW_URL, _BRANCH, _PATH: with your own repository
	@$(quietly) demo 'building the demo' target/log/demo-build.log cargo build -p workflow-tests --bin demo
	@cargo run --quiet -p workflow-tests --bin demo

.PHONY: test
test: setup unit e2e ## unit tests, then end-to-end tests on a real cluster

.PHONY: unit
unit: ## unit tests: no cluster, no root
	@$(quietly) unit 'building the unit tests' target/log/unit-build.log cargo test --no-run
	@cargo test --quiet

.PHONY: e2e
e2e: images install ## end-to-end tests of what is in the checkout
	@tests/cluster/build-tools
	@tests/cluster/promtool
	@$(quietly) e2e 'building the end-to-end tests' target/log/e2e-build.log cargo test -p workflow-tests --no-run
	@cargo test --quiet -p workflow-tests

.PHONY: bench-status
bench-status: setup build ## the status controller with 10,000 sessions and pods; BENCH: flags, such as '--sessions 2000'
	@tests/cluster/build-tools
	@$(quietly) bench 'building the benchmark' target/log/bench-status-build.log cargo build -p workflow-tests --bin bench-status
	@cargo run --quiet -p workflow-tests --bin bench-status -- \
	  --injector "$$(tests/cluster/programs --print | grep -x '.*/workflow-injector')" $(BENCH)

.PHONY: chaos
chaos: images install ## 50 session pods a second while all that can happen to the injector does; CHAOS_SECONDS=600, SEED
	@$(quietly) chaos 'building chaos' target/log/chaos-build.log cargo build -p workflow-tests --bin chaos
	@cargo run --quiet -p workflow-tests --bin chaos -- --seconds $(or $(CHAOS_SECONDS),600) $(if $(SEED),--seed $(SEED))

.PHONY: setup
setup: ## install missing system packages (Debian, root), check toolchains and kernel
	@tests/cluster/setup

.PHONY: build
build: ## the programs of the images: release, static
	@tests/cluster/programs

.PHONY: images
images: cluster-up ## build the images and give them to the cluster; names in target/images.env
	@tests/cluster/images

.PHONY: cluster-up
cluster-up: ## a Kubernetes node on this machine, or a check that it is sound
ifeq ($(CLUSTER),current)
	@tests/cluster/current
else
	@tests/cluster/up
endif

.PHONY: cluster-down
cluster-down: ## remove that node and everything in it, also after a crash
	@tests/cluster/down

.PHONY: install
install: ## install the injector on the cluster, webhook last
	@manifests/install

.PHONY: check
check: ## is the installation sound? One line each, with the remedy
	@"$$(tests/cluster/programs --print | grep -x '.*/workflow-injector')" check

.PHONY: uninstall
uninstall: ## remove it, webhook first
	@manifests/uninstall

.PHONY: render-manifests
render-manifests: ## render every kustomization to target/manifests/, and have a real API server validate all
	@tests/cluster/build-tools
	@tests/cluster/promtool
	@cargo test --quiet -p workflow-tests --test manifests --test alerts
	@echo 'rendered, and valid to an API server: target/manifests/*.yaml'

.PHONY: bench-admission
bench-admission: ## what admission costs, beside a bare handler and controller-runtime; some minutes
	@tests/bench/admission

.PHONY: fuzz
fuzz: ## fuzz what the network sends: git's answers, trees, reviews, pods; FUZZ: some of them, SECONDS_EACH=60
	@tests/fuzz/run $(FUZZ)

.PHONY: bench-fetch
bench-fetch: setup build ## init-fetcher beside git: the table of docs/benchmarks.md; ROUNDS=5; some minutes
	@TMPDIR=/dev/shm INIT_FETCHER="$$(realpath "$$(tests/cluster/programs --print | grep -x '.*/init-fetcher')")" \
		cargo bench --quiet --profile dev -p init-fetcher --bench fetch

.PHONY: lint
lint: ## formatting and clippy, warnings denied
	@cargo fmt --all --check
	@$(quietly) lint 'clippy' target/log/clippy.log cargo clippy --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## licences, sources, bans and advisories of the dependencies
	@.ci/deny
