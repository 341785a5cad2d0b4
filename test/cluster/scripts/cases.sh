#!/bin/bash
# Breaks the cluster that runs by each line of `cases`, has `hopwise diagnose` say what is wrong, repairs it, and looks
# whether it is well again. Hopwise has a kubeconfig and nothing else.
#
#   cases.sh subset|all [PART-OF-A-NAME]
#
# What is found first must be what is expected, and nothing else may be accused. The exit code is 1 when a case fails.
set -uo pipefail
. "$(dirname "$0")/env.sh"
need_cluster

which=${1:-all} part=${2:-}
program=$ROOT/target/x86_64-unknown-linux-gnu/release/hopwise
[ -x "$program" ] || fail "there is no $program: run make static"
KUBECONFIG=$STATE/kubeconfig
PATH=$STATE/bin:$PATH
export KUBECONFIG PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_passed=0 n_failed=0

# What Hopwise is allowed is what its manifests say, and nothing else.
# Without flannel there is no namespace of it, and what is for that is refused.
kubectl apply -f "$ROOT/deploy/rbac.yaml" -f "$ROOT/deploy/rbac-repair.yaml" 2>&1 |
    grep -v '"kube-flannel" not found' | grep -i error && fail "no rights"
as=system:serviceaccount:hopwise:hopwise

# Runs a command in a node, or beside the API server.
in_node() {
    case $1 in
    api) sh -c "$2" ;;
    *) "$HERE/scripts/exec.sh" "$1" sh -c "$2" ;;
    esac
}

# The image of the node pods is this very program.
"$program" image -o "$work/node.tar" 2>/dev/null || fail "no image: $("$program" image -o /dev/null 2>&1)"
"$HERE/scripts/import.sh" "$work/node.tar" >/dev/null || fail "the image could not be imported"

# What is found, one finding a line, those that break nothing now left out.
found() {
    timeout 120 "$program" diagnose --as "$as" -o json >"$work/found.json" 2>"$work/said"
    # Whoever asks does so in a shell of its own.
    echo $? >"$work/code"
    jq -r '.findings[]? | select(.kind != "latent") | .code + " " + .elements[0]' "$work/found.json"
}

# What the last diagnosis ended with.
code() {
    cat "$work/code"
}

# Waits until nothing is found.
is_healthy() {
    local until=$((SECONDS + 60)) left=
    while [ $SECONDS -lt $until ]; do
        left=$(found)
        [ -z "$left" ] && [ "$(code)" = 0 ] && return 0
        sleep 2
    done
    echo "still: $left (exit code $(code)) $(tail -n 1 "$work/said")"
    return 1
}

# Is what is found what is expected, and nothing else?
is_expected() {
    local wanted=$1 seen=$2
    if [ "$wanted" = - ]; then
        [ -z "$seen" ] && [ "$(code)" = 0 ]
    else
        [ "$(printf '%s\n' "$seen" | wc -l)" = 1 ] && case $seen in "$wanted"*) true ;; *) false ;; esac
    fi
}

try() {
    local name=$1 node=$2 break=$3 wanted=$4 heal=$5 from=$SECONDS seen= why=
    in_node "$node" "$break" >"$work/broken" 2>&1 || why="not broken: $(tail -n 1 "$work/broken")"
    # What nobody notices at once: the node controller takes 40 s.
    [ "$name" != "kubelet is frozen" ] || sleep 60
    seen=$(found)
    is_expected "$wanted" "$seen" || why="$why found: ${seen:-nothing} (exit code $(code)) $(tail -n 1 "$work/said")"
    if [ "$heal" = repair ]; then
        if ! timeout 200 "$program" repair --as "$as" --apply --yes >"$work/repaired" 2>&1; then
            why="$why not repaired: $(grep -m 1 '^not healed\|^nothing was done\|^error' "$work/repaired")"
        fi
    else
        in_node "$node" "$heal" >/dev/null 2>&1 || why="$why not healed by hand"
    fi
    left=$(is_healthy) || why="$why $left"
    if [ -z "$why" ]; then
        n_passed=$((n_passed + 1))
        printf 'passed  %-48s %-62s %3d s\n' "$name" "${seen:-nothing}" $((SECONDS - from))
    else
        n_failed=$((n_failed + 1))
        printf 'FAILED  %-48s %s\n' "$name" "$why" | tr '\n' ' '
        echo
    fi
}

is_healthy || fail "the cluster is not healthy to begin with"
while IFS= read -r line <&3; do
    case $line in '' | '#'*) continue ;; esac
    # A bar that is meant is written \|.
    line=$(printf '%s' "$line" | sed 's/\\|/\x01/g')
    IFS='|' read -r name node break wanted heal <<<"$line"
    trim() { printf '%s' "$1" | sed 's/^ *//; s/ *$//; s/\x01/|/g'; }
    name=$(trim "$name")
    case $which:$name in subset:+*) ;; subset:*) continue ;; esac
    name=${name#+}
    case $name in *"$part"*) ;; *) continue ;; esac
    try "$name" "$(trim "$node")" "$(trim "$break")" "$(trim "$wanted")" "$(trim "$heal")"
done 3<"$HERE/cases"

echo "$n_passed passed, $n_failed failed"
[ "$n_failed" = 0 ] && [ "$n_passed" -gt 0 ]
