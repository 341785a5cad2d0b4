#!/bin/bash
# reboot.sh NODE: a hard reboot, as a node sees it. All its processes die; its network namespace, /run and /tmp are new;
# its disk (/etc, /var, images) stays.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_root
need_cluster

node=$1
is_node "$node" || fail "expected one of $NODES, found $node"
end_processes "$node"
ip netns del "hw-$node"
# Its end of the link goes with the namespace, a little later.
for _ in $(seq 100); do
    ip -n "$FABRIC" link show "$node" >/dev/null 2>&1 || break
    sleep 0.05
done
remove_groups "$node"
"$HERE/scripts/node-net.sh" "$node"
# The programs it was started with, though the sources may have changed since.
kit=$(dirname "$(readlink -f "$STATE/bin")")
setsid "$HERE/scripts/node-start.sh" "$node" "$kit" >>"$STATE/log/$node.log" 2>&1 </dev/null &
echo "$node boots; cargo xtask cluster check --wait 60 waits for its pods" >&2
