#!/bin/bash
# node-net.sh NODE: a network namespace with one card, as a machine has it: a link to the underlay, an address, and the
# underlay as default gateway.
set -euo pipefail
. "$(dirname "$0")/env.sh"

node=$1
ip netns add "hw-$node"
ip -n "hw-$node" link add eth0 type veth peer name "$node" netns "$FABRIC"
ip -n "$FABRIC" link set "$node" master br0 up
ip -n "hw-$node" link set lo up
ip -n "hw-$node" addr add "$(address "$node")/24" dev eth0
ip -n "hw-$node" link set eth0 up
ip -n "hw-$node" route add default via "$UNDERLAY.1"
