#!/bin/bash
# exec.sh NODE CMD...: runs a command in all namespaces of a node, or in the underlay's network (`fab`).
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_root

place=$1
shift
if [ "$place" = fab ]; then
    [ -e "/run/netns/$FABRIC" ] || fail "there is no underlay; cargo xtask cluster up starts a cluster"
    exec nsenter --net="/run/netns/$FABRIC" -- "$@"
elif is_node "$place"; then
    enter_node "$place" "$@"
else
    fail "expected a node ($NODES) or fab, found $place"
fi
