# The only entry point; `make` alone lists the targets. Long steps write their output to target/log/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# CLUSTER=current selects the cluster of the caller's KUBECONFIG; otherwise the local cluster is used, and no command
# here can reach another. K8S selects the version of the local cluster.
ifeq ($(CLUSTER),current)
export PATH := $(PATH):$(CURDIR)/target/cluster/bin
else
export KUBECONFIG := $(CURDIR)/target/cluster/kubeconfig
export PATH := $(CURDIR)/target/cluster/bin:$(PATH)
endif

quietly := tests/cluster/quietly

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@ / { printf "%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Variables'
	@echo '  CLUSTER=current  use the cluster of your KUBECONFIG; images are pushed to IMAGE_REGISTRY=...'
	@echo '  K8S=1.37         version of the local cluster: 1.37 or 1.34'

##@ Use

.PHONY: demo
demo: export PROFILE := demo
demo: demo-setup demo-build images install ## full demo on a real cluster; WORKFLOW_URL, _BRANCH, _PATH select your own repository
	@target/demo-program

.PHONY: demo-setup
demo-setup:
	@tests/cluster/setup --demo

# Go and Rust at the same time, as neither uses all processors all the time.
.PHONY: demo-build
demo-build:
ifeq ($(CLUSTER),current)
	@tests/cluster/programs --demo
else
	@tests/cluster/build-tools & status=0; tests/cluster/programs --demo || status=$$?; wait $$! && exit $$status
endif

.PHONY: images
images: cluster-up ## build the images and load them into the cluster; their names are in target/images.env
	@tests/cluster/images

.PHONY: install
install: ## install the injector on the cluster, webhook last
	@manifests/install

.PHONY: check
check: ## check the installation: one line for each requirement, with the remedy
	@[ -x target/injector ] || { echo 'check: make build builds the program that checks' >&2; exit 1; }
	@target/injector check

.PHONY: uninstall
uninstall: ## remove the injector, webhook first
	@manifests/uninstall

##@ Develop

.PHONY: test
test: setup ## unit tests, then end-to-end tests on a real cluster; ends with times and all failures
	@tests/run all

.PHONY: unit
unit: ## unit tests and git tests: no cluster; one needs root (a DNS server); ONLY=REGEX selects test programs
	@tests/run unit '$(ONLY)'

.PHONY: e2e
e2e: images install ## end-to-end tests of the checkout; ONLY=REGEX selects test programs, such as availability
	@tests/run e2e '$(ONLY)'

.PHONY: lint
lint: ## formatting and clippy, warnings denied
	@cargo fmt --all --check
	@$(quietly) lint 'clippy' target/log/clippy.log cargo clippy --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## licences, sources, bans and advisories of the dependencies
	@.ci/deny

.PHONY: fuzz
fuzz: ## fuzz the parsers of network input; FUZZ selects fuzzers, SECONDS_EACH=60
	@tests/fuzz/run $(FUZZ)

.PHONY: render-manifests
render-manifests: ## render every kustomization to target/manifests/ and validate it with a real API server
	@tests/cluster/build-tools
	@tests/cluster/prometheus
	@tests/run e2e '^tests/install$$' 'alerts manifests'
	@echo 'rendered, and valid to an API server: target/manifests/*.yaml'

.PHONY: release
release: ## artifacts of a release, for amd64 and arm64, in target/release-VERSION/; VERSION, IMAGE_REGISTRY
	@.ci/release '$(VERSION)'

.PHONY: release-push
release-push: ## push the images of that release; VERSION, IMAGE_REGISTRY
	@.ci/release-push '$(VERSION)'

.PHONY: release-publish
release-publish: ## create the GitHub release of the tag vVERSION with these artifacts; needs gh, logged in
	@gh release create 'v$(VERSION)' --verify-tag target/release-$(VERSION)/*

.PHONY: release-test
release-test: setup ## make a release twice, compare, run its arm64 programs, push it to a registry on this machine, install it
	@.ci/release-test
	@tests/cluster/up
	@.ci/release-install-test

.PHONY: upgrade-test
upgrade-test: setup images ## upgrade from 0.1.0, built from its commit, to the checkout and back, under load
	@tests/cluster/released
	@tests/run e2e '^tests/availability$$' upgrade --ignored

.PHONY: setup
setup: ## install missing system packages (Debian, root); check toolchains and kernel
	@tests/cluster/setup

.PHONY: build
build: ## build the programs of the images: release, static
	@tests/cluster/programs

.PHONY: cluster-up
cluster-up: ## start a Kubernetes node on this machine, or check the running one
ifeq ($(CLUSTER),current)
	@tests/cluster/current
else
	@tests/cluster/up
endif

.PHONY: cluster-down
cluster-down: ## remove that node and everything in it, also after a crash
	@tests/cluster/down

##@ Measure

.PHONY: bench-admission
bench-admission: ## CPU of admission, compared with a bare handler and controller-runtime; some minutes
	@tests/bench/admission

.PHONY: bench-status
bench-status: setup build ## status controller with 10,000 sessions and pods; BENCH: flags, such as '--sessions 2000'
	@tests/cluster/build-tools
	@$(quietly) bench 'building the benchmark' target/log/bench-status-build.log cargo build -p workflow-tests --bin bench-status
	@cargo run --quiet -p workflow-tests --bin bench-status -- --injector target/injector $(BENCH)

.PHONY: bench-fetch
bench-fetch: setup build ## init-fetcher compared with git: the table of docs/benchmarks.md; ROUNDS=5, REPOSITORY; some minutes
	@TMPDIR=/dev/shm INIT_FETCHER="$$(realpath "$$(tests/cluster/programs --print | grep -x '.*/init-fetcher')")" \
		cargo bench --quiet --profile dev -p init-fetcher --bench fetch

.PHONY: bench-signatures
bench-signatures: ## time and memory of one verification of each kind; fails above 10 ms or 2 MiB
	@cargo bench --quiet -p workflow-signatures --bench verify

.PHONY: chaos
chaos: images install ## 50 session pods a second during random disruptions; CHAOS_SECONDS=600, SEED
	@$(quietly) chaos 'building chaos' target/log/chaos-build.log cargo build -p workflow-tests --bin chaos
	@cargo run --quiet -p workflow-tests --bin chaos -- --seconds $(or $(CHAOS_SECONDS),600) $(if $(SEED),--seed $(SEED))
