#!/bin/bash
# Measures 18 paths: from a pod on each node to the pods of both workers, a Service, names inside and outside, and a web
# site outside. Says each with what was answered; the exit code is 1 when one fails.
#
#   WAIT=SECONDS   tries again until all pass or the time is over; the last try is printed
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_cluster

# kubectl, with what it complains of as its answer.
ask() {
    kc --request-timeout=5s "$@" 2>&1
}

# Prints one path, and keeps count: NAME, what the answer must hold, the command.
path() {
    local name=$1 expected=$2 answer verdict=FAILED
    shift 2
    answer=$("$@" 2>&1 </dev/null | tr '\n' ' ') || true
    case $answer in *"$expected"*)
        verdict=passed
        n_passed=$((n_passed + 1))
        ;;
    esac
    n_paths=$((n_paths + 1))
    printf '%s  %-34s %s\n' "$verdict" "$name" "$answer"
}

measure() {
    local tools='' echoes='' service='' dns='' pod node name on address
    n_paths=0 n_passed=0
    local line='{range .items[*]}{.metadata.name}{" "}{.spec.nodeName}{" "}{.status.podIP}{"\n"}{end}'
    # A word of kubectl is the reason when one of these fails.
    tools=$(ask get pods -l app=tool -o jsonpath="$line") &&
        echoes=$(ask get pods -l app=echo -o jsonpath="$line") &&
        service=$(ask get service echo -o jsonpath='{.spec.clusterIP}') &&
        dns=$(ask get service kubernetes -o jsonpath='{.spec.clusterIP}') || {
        echo "$tools$echoes$service$dns"
        return 1
    }
    if [ -z "$tools" ] || [ -z "$echoes" ]; then
        echo "no pods to measure from: cargo xtask cluster up --demo starts them"
        return 1
    fi
    while read -r pod node _; do
        while read -r name on address; do
            path "$node to a pod on $on, $address" "pod=$name node=$on" \
                kc exec "$pod" -- curl -sS -m 3 "http://$address:8080/"
        done <<<"$echoes"
        path "$node to the Service $service" "pod=echo-" kc exec "$pod" -- curl -sS -m 3 "http://$service/"
        path "$node, name inside" "$dns " \
            kc exec "$pod" -- dig +time=2 +tries=1 +short kubernetes.default.svc.cluster.local
        path "$node, name outside" "$UNDERLAY.1 " kc exec "$pod" -- dig +time=2 +tries=1 +short site.example.test
        path "$node to the outside" "node=outside client=$UNDERLAY.1" \
            kc exec "$pod" -- curl -sS -m 3 "http://$UNDERLAY.1/"
    done <<<"$tools"
    echo "$n_passed of 18 paths passed"
    [ "$n_passed" = 18 ] && [ "$n_paths" = 18 ]
}

until=$(($(date +%s) + ${WAIT:-0}))
until said=$(measure); do
    if [ "$(date +%s)" -ge "$until" ]; then
        echo "$said"
        exit 1
    fi
    sleep 1
done
echo "$said"
