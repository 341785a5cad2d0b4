#!/bin/bash
# The underlay: one bridge in a network namespace of its own, a link to each node, a name server and a web site outside
# the cluster, and the way in from the machine. The machine's own network gets nothing but listeners on its loopback.
set -euo pipefail
. "$(dirname "$0")/env.sh"

kit=$1
mkdir -p "$STATE/fabric"
ip netns add "$FABRIC"
ip -n "$FABRIC" link set lo up
ip -n "$FABRIC" link add br0 type bridge
ip -n "$FABRIC" addr add "$UNDERLAY.1/24" dev br0
ip -n "$FABRIC" link set br0 up
for node in $NODES; do
    "$HERE/scripts/node-net.sh" "$node"
done

# The plugin template answers before the plugin hosts would, hence two servers.
cat >"$STATE/fabric/Corefile" <<COREFILE
example.test:53 {
    bind $UNDERLAY.1
    hosts {
        $UNDERLAY.1 site.example.test
        ttl 30
    }
    log
    errors
}
.:53 {
    bind $UNDERLAY.1
    template ANY ANY . {
        rcode NXDOMAIN
    }
    log
    errors
}
COREFILE

# Starts a program that stays, in the control group of the underlay.
start() {
    local name=$1
    shift
    (
        join_group fabric
        exec setsid "$@" >"$STATE/fabric/$name.log" 2>&1 </dev/null
    ) &
}
start dns nsenter --net="/run/netns/$FABRIC" "$kit/bin/coredns" -conf "$STATE/fabric/Corefile"
start web env PORT=80 NODE_NAME=outside nsenter --net="/run/netns/$FABRIC" "$kit/bin/hw-tool" echo

targets="api=$(address n1):6443"
for node in $NODES; do
    targets="$targets $node=$(address "$node"):22"
done
# shellcheck disable=SC2086 # One word a target.
start forward "$kit/bin/hw-tool" forward "/run/netns/$FABRIC" "$STATE/ports" $targets
for _ in $(seq 100); do
    [ ! -e "$STATE/ports" ] || exit 0
    sleep 0.05
done
cat "$STATE/fabric/forward.log" >&2
fail "nothing listens for the cluster on this machine"
