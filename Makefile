# `make test` is all that continuous integration runs. On a fresh Debian machine with a Rust
# toolchain it installs what else it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: test complete tools fmt clippy doc isolation layers alone kubernetes unit proto released alerts charts chart-copies images sbom performance top-capture fuzz deny clean

# An incremental build that starts cold costs more than it saves.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

CRATES := $(foreach manifest,$(wildcard crates/*/Cargo.toml),$(shell grep -m1 '^name = ' $(manifest) | cut -d'"' -f2))
BUF    := .tools/node_modules/.bin/buf
PYTHON := .tools/python/bin/python
PARSER := .tools/python/prometheus_client
GRPCIO := .tools/python/grpcio
PROMTOOL := .tools/bin/promtool
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Programs are run as containers where this user may make namespaces: root, with all its rights.
# grpcurl, Helm and a control plane of Kubernetes are tested with where Go can build them; the official
# SDKs for MCP and a server from npm everywhere.
# An older one does not fetch the toolchain that a module asks for.
GO            := $(shell go version 2>/dev/null | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])' && command -v go)
GRPCURL       := $(CURDIR)/.tools/bin/grpcurl
APISERVER     := $(CURDIR)/.tools/bin/kube-apiserver
KUBECTL       := $(CURDIR)/.tools/bin/kubectl
ETCD          := .tools/bin/etcd
HELM          := $(CURDIR)/.tools/bin/helm
SCHEMAS       := .tools/python/kubernetes-validate
CRDS          := .tools/crds
CONTAINERS    := $(shell [ "$$(id -u)" = 0 ] && unshare --mount --net --pid --fork true 2>/dev/null && echo yes)
TEST_FEATURES := --features toolgate-tests/sdk --features toolgate-tests/kubernetes $(if $(CONTAINERS),--features toolgate-tests/containers) $(if $(GO),--features toolgate-tests/grpcurl)
EVERYTHING    := .tools/node_modules/.bin/mcp-server-everything
TYPESCRIPT    := .tools/node_modules/@modelcontextprotocol/client/package.json

test: complete tools fmt clippy doc isolation proto alerts unit $(if $(GO),if-changed-kubernetes)
	@cat $(LEFT_OUT)

# Continuous integration leaves out only what has passed as it is: CI is set there.
complete:
	@mkdir -p $(dir $(LEFT_OUT)) && : > $(LEFT_OUT)
	@[ "$(GO)" ] || { echo 'Charts, and tests with grpcurl and a control plane of Kubernetes, are left out: they take Go 1.21 or newer.' >&2; [ -z "$(CI)" ]; }
	@[ "$(CONTAINERS)" ] || { echo 'Tests of images, compose.yaml, the sidecar and deploy/README.md are left out: they take root, and namespaces.' >&2; [ -z "$(CI)" ]; }

tools: $(BUF) $(EVERYTHING) $(TYPESCRIPT) $(PYTHON) $(PARSER) $(GRPCIO) $(PROMTOOL) $(if $(GO),$(GRPCURL))
	@packages=(); \
	command -v redis-server >/dev/null || packages+=(redis-server); \
	command -v cc           >/dev/null || packages+=(gcc libc6-dev); \
	command -v ip           >/dev/null || packages+=(iproute2); \
	command -v readelf      >/dev/null || packages+=(binutils); \
	command -v curl         >/dev/null || packages+=(curl); \
	[ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates); \
	if (( $${#packages[@]} )); then \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$${packages[@]}"; \
	fi

$(BUF):
	@command -v npm >/dev/null || { $(SUDO) apt-get update -qq; $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq npm; }
	npm install --prefix .tools --no-audit --no-fund @bufbuild/buf@1.75.0

$(EVERYTHING): $(BUF)
	npm install --prefix .tools --no-audit --no-fund @modelcontextprotocol/server-everything@2026.8.31

$(TYPESCRIPT): | $(EVERYTHING)
	npm install --prefix .tools --no-audit --no-fund @modelcontextprotocol/client@2.4.0

$(PYTHON):
	@python3 -c 'import ensurepip' 2>/dev/null || { $(SUDO) apt-get update -qq; $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv; }
	python3 -m venv .tools/python
	$@ -m pip install --quiet mcp==2.3.0

$(PARSER): | $(PYTHON)
	$(PYTHON) -m pip install --quiet prometheus_client==0.26.0
	touch $@

$(GRPCIO): | $(PYTHON)
	$(PYTHON) -m pip install --quiet grpcio==1.85.3
	touch $@

$(GRPCURL):
	GOBIN=$(dir $@) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3

$(HELM):
	GOBIN=$(dir $@) go install -ldflags "-s -w" helm.sh/helm/v4/cmd/helm@v4.3.1

# The schemas of all versions of Kubernetes.
$(SCHEMAS): | $(PYTHON)
	$(PYTHON) -m pip install --quiet kubernetes-validate==1.37.0
	touch $@

# Unlike a release, a module does not know its version.
$(APISERVER) $(KUBECTL) &:
	cd tests/kubernetes && \
	  version=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes) && \
	  GOBIN=$(dir $@) go install -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$version" tool

# Out of Debian's package, whose service is not wanted.
$(ETCD):
	@$(SUDO) apt-get update -qq
	@mkdir -p $(@D) && cd $(@D) && apt-get download -q etcd-server
	dpkg-deb --fsys-tarfile $(@D)/etcd-server_*.deb | tar -xO ./usr/bin/etcd > $@.new
	@rm $(@D)/etcd-server_*.deb && chmod +x $@.new && mv $@.new $@

$(CRDS): | $(PYTHON)
	@rm -rf $@.new
	$(PYTHON) tests/kubernetes/crds.py $@.new
	@mv $@.new $@

# Out of Debian's package, whose server is not wanted.
$(PROMTOOL):
	@$(SUDO) apt-get update -qq
	@mkdir -p $(@D) && cd $(@D) && apt-get download -q prometheus
	dpkg-deb --fsys-tarfile $(@D)/prometheus_*.deb | tar -xO ./usr/bin/promtool > $@.new
	@rm $(@D)/prometheus_*.deb && chmod +x $@.new && mv $@.new $@

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Nobody reaches past the layers that ARCHITECTURE.md draws, and each crate builds alone.
isolation: layers if-changed-alone

# `layer CRATE 'crates of this workspace below it' 'what it must not use'`; each crate has one.
layers:
	@ruled=; \
	layer() { \
	  ruled+=" $$1"; \
	  tree=$$(cargo tree -p $$1 -e normal --prefix none --locked); \
	  names=$$(cut -d' ' -f1 <<< "$$tree" | sort -u); \
	  found=$$(grep -Ex "(toolgate.*|vmcp)|$$3" <<< "$$names" | grep -Evx "$$1|toolgate-($$2)") || [ $$? = 1 ]; \
	  if [ -n "$$found" ]; then echo "$$1 must not depend on:" $$found >&2; exit 1; fi; \
	}; \
	layer toolgate-limit     'none' 'tokio|tonic|prost|redis|opentelemetry'; \
	layer toolgate-trace     'limit' 'tokio|tonic|prost|redis'; \
	layer toolgate-net       'none' 'tonic|prost|redis'; \
	layer toolgate-tasks     'none' 'tonic|prost|redis'; \
	layer toolgate-proto     'limit' 'redis'; \
	layer toolgate-redis     'limit|trace|tasks' 'tonic|prost'; \
	layer toolgate-policy    'limit' 'tonic|prost|redis'; \
	layer toolgate-kube      'limit|policy|tasks' 'tonic|prost|redis'; \
	layer toolgate-telemetry 'tasks' 'redis'; \
	layer toolgate-client    'limit|trace|proto' 'redis'; \
	layer toolgate-server    'limit|trace|proto|redis|policy|kube|telemetry|net|tasks' 'rmcp'; \
	layer toolgate           'limit|trace|proto|redis|policy|kube|telemetry|net|tasks|server' 'rmcp'; \
	layer vmcp               'limit|trace|proto|policy|telemetry|net|tasks|client' 'redis'; \
	for crate in $(CRATES); do \
	  [[ "$$ruled " = *" $$crate "* ]] || { echo "$$crate has no layer" >&2; exit 1; }; \
	done
	@tree=$$(cargo tree --workspace -e normal --prefix none --locked); \
	for only_one in tonic prost rustls; do \
	  count=$$(grep -E "^$$only_one v" <<< "$$tree" | cut -d' ' -f1,2 | sort -u | wc -l); \
	  if [ "$$count" != 1 ]; then echo "$$count versions of $$only_one" >&2; exit 1; fi; \
	done

# Suites that cost minutes and concern few changes. `make if-changed-SUITE` runs one if a file that it covers is not
# as it was when it last passed, and keeps a sum over those files in $(SUMS)/SUITE, to be committed. A forgotten sum
# costs time, and hides nothing. It is one sum, not one a file: two branches that each pass do not merge into a sum that
# nobody has tested. `make SUITE` runs the suite in any case; do it for all of them before a release.
SUMS     := tests/suite/sums
LEFT_OUT := $(or $(CARGO_TARGET_DIR),target)/left-out
# How to build and to run; all suites stand on it.
BUILD    := Makefile Cargo.toml Cargo.lock rust-toolchain.toml
# Not by $(MAKE), whose lines run under `make -n` as well, and without flags: `-i` would make a sum of what has failed.
AFRESH    = MAKEFLAGS= make
if-changed-%:
	@files=$$(find $(BUILD) $(COVERED_$*) -type f -not -name '*.pyc' | LC_ALL=C sort -u); \
	sum=$$({ echo "$(FEATURES_$*)"; xargs -d '\n' sha256sum <<< "$$files"; } | sha256sum | cut -d' ' -f1); \
	if [ "$$sum" = "$$(cat $(SUMS)/$* 2>/dev/null)" ]; then \
	  echo "Left out: make $*. It has passed with all files that it covers as they are." | tee -a $(LEFT_OUT); \
	else \
	  $(AFRESH) $*; mkdir -p $(SUMS); echo "$$sum" > $(SUMS)/$*; \
	fi

# Checking a crate alone compiles its dependencies with its features: some 500 units in all, and as many
# seconds of CPU time. What its sum does not see is a source that begins to use a feature which another crate asks for.
COVERED_alone := $(wildcard crates/*/Cargo.toml tests/Cargo.toml)
alone:
	for crate in $(CRATES); do cargo check -p $$crate --locked --target-dir "$${CARGO_TARGET_DIR:-target}/alone"; done

# What a control plane of Kubernetes, kubectl and Helm take part in. Go builds those, in 15 minutes of CPU time.
COVERED_kubernetes := crates/kube crates/policy crates/limit crates/tasks crates/toolgate \
  crates/server/Cargo.toml $(wildcard crates/server/src/config* crates/server/src/source* crates/server/src/server*) \
  crates/vmcp/Cargo.toml $(wildcard crates/vmcp/src/config* crates/vmcp/src/main.rs) \
  deploy examples Dockerfile tests/Cargo.toml tests/src tests/kubernetes tests/charts tests/container tests/suite/run.py tests/tests/kubernetes tests/tests/deploy
# What a machine cannot run has not passed there.
FEATURES_kubernetes := $(TEST_FEATURES)
WITH_KUBERNETES := tests/tests/kubernetes/main.rs tests/tests/deploy/main.rs:readme:: tests/tests/deploy/main.rs:sidecar::
kubernetes: $(BUF) $(EVERYTHING) $(PYTHON) $(GRPCURL) $(APISERVER) $(KUBECTL) $(ETCD) $(CRDS) $(HELM) $(SCHEMAS) charts
	$(RUN_TESTS) $(addprefix --only ,$(WITH_KUBERNETES)) -- --workspace --locked $(TEST_FEATURES)

alerts:
	$(PROMTOOL) check rules deploy/observability/alerts.yaml
	$(PROMTOOL) test rules deploy/observability/alerts.test.yaml

# As `cargo test --workspace` builds them: an example makes cargo take the features of tests as well.
BUILD_PROGRAMS := cargo build --workspace --bin toolgate --bin vmcp --example backend --locked

# All that deploy/ would put into a cluster; what is looked at is said in tests/charts/check.py. What Helm
# makes of each variant stays in target/rendered.
charts: $(KUBECTL) $(HELM) $(SCHEMAS)
	$(BUILD_PROGRAMS)
	target="$${CARGO_TARGET_DIR:-target}"; \
	  $(PYTHON) -B tests/charts/check.py --programs "$$target/debug" --rendered "$$target/rendered"

# Charts hold copies, as Helm packs nothing from outside of them.
chart-copies:
	cp deploy/observability/{alerts.yaml,grafana-dashboard.json} deploy/helm/toolgate/files/
	rm -f deploy/helm/toolgate/crds/*.yaml
	cp deploy/crds/*.yaml deploy/helm/toolgate/crds/

proto:
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(BUF) breaking --against $(RELEASED)

# What clients of the last release were built with; made anew with each release.
RELEASED := proto/released.binpb
released:
	$(BUF) build --exclude-source-info --output $(RELEASED)

RUN_TESTS = PATH="$(dir $(GRPCURL)):$(CURDIR)/$(dir $(EVERYTHING)):$$PATH" \
	  TOOLGATE_TEST_PYTHON="$(CURDIR)/$(PYTHON)" NODE_PATH="$(CURDIR)/.tools/node_modules" \
	  TOOLGATE_TEST_CRDS="$(CURDIR)/$(CRDS)" \
	  $(PYTHON) -B tests/suite/run.py
# All tests, but those of `make kubernetes`.
unit:
	$(RUN_TESTS) $(addprefix --without ,$(WITH_KUBERNETES)) -- --workspace --locked $(TEST_FEATURES)

# Both images, for this machine and into Docker; for a registry: PREFIX=registry/ PLATFORMS=linux/amd64,linux/arm64
# OUTPUT=--push. Equal sources make equal images; an SBOM goes with those that are pushed.
VERSION   = $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
PREFIX    =
PLATFORMS =
OUTPUT    = --load
SOURCE    =
images: image-toolgate image-vmcp
image-%:
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) docker buildx build --target $* \
	  --tag "$(PREFIX)toolgate/$*:$(VERSION)" $(if $(PLATFORMS),--platform $(PLATFORMS)) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) --build-arg SOURCE="$(SOURCE)" \
	  $(if $(filter --push,$(OUTPUT)),--sbom=true --provenance=mode=max) $(OUTPUT) .

# What the programs are made of, as CycloneDX: target/sbom. The list in the programs themselves leaves out macros.
sbom:
	command -v cargo-cyclonedx >/dev/null || cargo install --locked --version 0.5.9 cargo-cyclonedx
	cargo cyclonedx --manifest-path crates/toolgate/Cargo.toml --format json --spec-version 1.5 --describe binaries --no-build-deps
	mkdir -p target/sbom
	mv crates/toolgate/toolgate_bin.cdx.json crates/vmcp/vmcp_bin.cdx.json target/sbom/

# What a check costs; see docs/performance.md. SECTIONS chooses, for example `make performance SECTIONS="stream --quick"`.
performance:
	cargo bench -p toolgate-tests --bench performance --locked -- $(SECTIONS)

# Takes the screen of `toolgate top` in docs/observability.md anew, from two limiters under load.
top-capture:
	cargo run -q -p toolgate-tests --example top-capture --locked -- docs/observability.md

# Looks for inputs that break TARGET, one of fuzz/targets, for SECONDS; needs cargo-fuzz and a C++ compiler.
# What it finds on its way goes to fuzz/found, what breaks to fuzz/artifacts: make that a seed in fuzz/corpus.
TARGET  = manifest
SECONDS = 60
SEEDS   = corpus/$(TARGET) $(if $(filter manifest,$(TARGET)),../tests/fixtures/manifests/valid ../tests/fixtures/manifests/invalid)
fuzz:
	mkdir -p fuzz/found/$(TARGET)
	cd fuzz && cargo fuzz run --fuzz-dir . --sanitizer none $(TARGET) found/$(TARGET) $(SEEDS) -- -max_total_time=$(SECONDS)

# Licences, bans and sources of all dependencies; needs cargo-deny.
deny:
	cargo deny --locked check bans licenses sources

clean:
	cargo clean
	rm -rf fuzz/target
	rm -rf .tools
