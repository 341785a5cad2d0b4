#!/bin/bash
# Says what runs. The exit code is 0 when a cluster of this clone runs and all its nodes are ready.
#
#   FORMAT=json   the same as one document
set -euo pipefail
. "$(dirname "$0")/env.sh"

kit=$(kit)
owner=$(cat "$MACHINE/owner" 2>/dev/null || true)
CNI='' PROXY=''
# shellcheck disable=SC1091 # Written by up.sh.
[ ! -e "$STATE/up.conf" ] || . "$STATE/up.conf"
nodes='{"items":[]}'
reachable=false
if [ -e "$STATE/kubeconfig" ] && answer=$(kc --request-timeout=5s get nodes -o json 2>/dev/null); then
    nodes=$answer
    reachable=true
fi
running=$(for node in $NODES; do [ -z "$(node_pid "$node" 2>/dev/null || true)" ] || echo "$node"; done)
ports=$(cat "$STATE/ports" 2>/dev/null || true)

document=$(jq -n --arg state "$STATE" --arg owner "$owner" --arg kit "$kit" --arg cni "$CNI" --arg proxy "$PROXY" \
    --arg kubernetes "$KUBERNETES" --arg etcd "$ETCD" --arg coredns "$COREDNS" --arg flannel "$FLANNEL" \
    --arg names "$NODES" --arg running "$running" --arg ports "$ports" --argjson nodes "$nodes" \
    --argjson reachable "$reachable" --argjson built "$([ -d "$kit" ] && echo true || echo false)" '
    ($ports | split("\n") | map(select(. != "") | split(" ") | {key: .[0], value: ("127.0.0.1:" + .[1])}) | from_entries)
        as $listens
    | ($running | split("\n")) as $running
    | {
        built: $built, kit: $kit, owner: (if $owner == "" then null else $owner end),
        state: $state, api_answers: $reachable,
        cni: (if $cni == "" then null else $cni end), proxy: (if $proxy == "" then null else $proxy end),
        listens: $listens,
        versions: {kubernetes: $kubernetes, etcd: $etcd, coredns: $coredns, flannel: $flannel},
        nodes: ($names | split(" ") | map(. as $name
            | ($nodes.items | map(select(.metadata.name == $name)) | first) as $node
            | {
                name: $name, runs: ($running | index($name) != null),
                ready: (if $node == null then null
                    else ([$node.status.conditions[] | select(.type == "Ready") | .status] | first) == "True" end),
                kubelet: $node.status.nodeInfo.kubeletVersion,
                runtime: $node.status.nodeInfo.containerRuntimeVersion
            }))
    } | .ready = ($owner == $state and .api_answers and all(.nodes[]; .runs and .ready == true))')

if [ "${FORMAT:-text}" = json ]; then
    echo "$document"
else
    jq -r '
        "built:      " + (if .built then .kit else "no; cargo xtask cluster build" end),
        "runs:       " + (if .owner == null then "nothing"
            elif .owner != .state then "the cluster of " + .owner
            else "this clone'"'"'s cluster, " + (.cni // "not complete") + " and " + (.proxy // "not complete") end),
        "API server: " + (if .api_answers then "answers" else "does not answer" end),
        "versions:   " + (.versions | to_entries | map(.key + " " + .value) | join(", ")),
        "listens:    " + (.listens | to_entries | map(.key + " " + .value) | join(", ")),
        (.nodes[] | .name + ":         " + (if .runs then "runs" else "does not run" end) + ", "
            + (if .ready == null then "not known to the API server" elif .ready then "ready" else "not ready" end)
            + (if .kubelet == null then "" else ", kubelet " + .kubelet + ", " + .runtime end))' <<<"$document"
fi
[ "$(jq .ready <<<"$document")" = true ]
