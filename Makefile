# Hopwise: `make demo` to see it work, `make test` to try all of it. `make help` lists the rest.
#
# Everything runs through script/rust, which finds the Rust toolchain also where HOME is not the caller's, and
# script/setup, which installs what is missing (as root) or prints the command that does.

RUST := script/rust
CARGO := $(RUST) cargo
# What a static program is built for, and where it lies.
TARGET := $(shell uname -m)-unknown-linux-gnu
STATIC := target/$(TARGET)/release/hopwise
# How long `make fuzz` tries each parser, in seconds, and how many random inputs `make properties` tries on each.
FUZZ_SECONDS ?= 60
CASES ?= 20000

.PHONY: help demo build static test test-plain test-kernel test-lab test-cluster test-cluster-all fmt fmt-check clippy bench properties fuzz clean

help:
	@echo 'make demo         build Hopwise and watch it find faults in a throw-away cluster'
	@echo 'make build        the release binary: target/release/hopwise'
	@echo 'make static       the same without a need for a C library, for `hopwise image`: $(STATIC)'
	@echo 'make test         every test there is'
	@echo 'make test-plain   tests that need no rights'
	@echo 'make test-kernel  tests against this kernel, in user namespaces'
	@echo 'make test-lab     tests in clusters made of network namespaces'
	@echo 'make test-cluster  a real cluster is broken by hand: the subset of test/cluster/cases; as root'
	@echo 'make test-cluster-all  the same, every case, with every way to make the network'
	@echo 'make fmt          format the sources; fmt-check says what is not formatted'
	@echo 'make clippy       lint the sources; a warning is an error'
	@echo 'make bench        how long a diagnosis of the committed snapshots takes, and its parts'
	@echo 'make properties   every property test with $(CASES) random inputs (CASES=N)'
	@echo 'make fuzz         every parser for $(FUZZ_SECONDS) s on inputs that reach new code (FUZZ_SECONDS=N)'
	@echo 'make clean        remove what was built'

demo:
	@script/setup demo
	@$(CARGO) run --release --locked --package hopwise-cli --bin hopwise -- demo

build:
	@script/setup demo
	@$(CARGO) build --release --locked --package hopwise-cli

# Linked with the C library in it: names are resolved by files and DNS without any shared object.
static:
	@script/setup demo
	@RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --release --locked --package hopwise-cli --target $(TARGET)

test:
	@script/setup test
	@$(RUST) script/test all

test-plain:
	@$(RUST) script/test plain

test-kernel:
	@script/setup test
	@$(RUST) script/test kernel

test-lab:
	@script/setup test
	@$(RUST) script/test lab

test-cluster: static
	@script/setup cluster
	@$(CARGO) xtask cluster build
	@$(CARGO) xtask cluster up --demo
	@$(CARGO) xtask cluster test subset; code=$$?; $(CARGO) xtask cluster down; exit $$code

test-cluster-all: static
	@script/setup cluster
	@$(CARGO) xtask cluster build
	@failed=0; for how in '--cni vxlan --proxy iptables' '--cni vxlan --proxy nftables' '--cni hostgw --proxy iptables' \
	    '--cni static --proxy iptables'; do \
	    echo "--- $$how"; which=subset; [ "$$how" != '--cni vxlan --proxy iptables' ] || which=all; \
	    [ "$$how" = '--cni vxlan --proxy iptables' ] || part=healthy; \
	    $(CARGO) xtask cluster up --demo $$how && $(CARGO) xtask cluster test $$which $$part || failed=1; \
	    $(CARGO) xtask cluster down; \
	done; exit $$failed

fmt:
	@$(CARGO) fmt --all

fmt-check:
	@$(CARGO) fmt --all --check

clippy:
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench: build
	@$(RUST) script/bench
	@$(CARGO) bench --locked --package hopwise-netfilter --package hopwise-dataplane --package hopwise-diagnose

properties:
	@PROPTEST_CASES=$(CASES) $(CARGO) test --release --locked --workspace --lib

fuzz:
	@$(RUST) fuzz/run.sh $(FUZZ_SECONDS)

clean:
	@$(CARGO) clean
