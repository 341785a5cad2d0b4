#!/bin/sh
# Fuzzes every target, or those that are named, each for some seconds:
#
#     fuzz/run.sh SECONDS [TARGET...]
#
# Needs a C++ compiler (libFuzzer) and nothing else: coverage is a pass of the stable compiler. Stops at the first
# input that breaks a target, and says where it keeps it.
set -eu
cd "$(dirname "$0")"
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
triple=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
# With --target the flags are not those of build scripts.
RUSTFLAGS=$flags cargo build --release --quiet --target "$triple" --bins

seed() { # seed TARGET FILE...
    mkdir -p "corpus/$1"
    target=$1
    shift
    for file in "$@"; do
        # Long seeds make every run slow.
        head -c 20000 "$file" >"corpus/$target/$(printf %s "$file" | tr '/ ' '__')"
    done
}
samples=../crates/testkit/samples
snapshots=../crates/cli/tests/snapshots
rules=../crates/netfilter/tests/kernel/rules
mkdir -p corpus artifacts target
seed iptables "$samples"/*/*/ip*tables-save.txt "$rules"/*tables
seed ruleset "$samples"/*/*/ip*tables-save.txt
seed nft "$samples"/*/*/nft.json
seed ipset "$rules"/*.ipset
seed resolv_conf "$samples"/*/*/resolv.conf
seed subnet_env "$samples"/*/*/subnet.env
seed kubelet_config "$samples"/*/*/kubelet-config.yaml
seed kubectl "$samples"/*/api/*.json
seed samples "$samples"/*/n1/*.json "$samples"/*/n1/*.txt
seed hop "$snapshots"/*.hop
seed page ../crates/diagnose/src/causes/*/*.md
for name in seeds/*; do
    mkdir -p "corpus/${name#seeds/}"
    cp "$name"/* "corpus/${name#seeds/}/"
done

[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)
for target in "$@"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    log="artifacts/$target.log"
    if ! "${CARGO_TARGET_DIR:-target}/$triple/release/$target" "corpus/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -max_len=20000 -print_final_stats=1 -artifact_prefix="artifacts/$target/" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "$target: broken; the input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    echo "$target: $runs runs in $seconds s, $edges edges, nothing found"
done
