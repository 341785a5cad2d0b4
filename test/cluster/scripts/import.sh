#!/bin/bash
# import.sh IMAGE.tar: brings an image archive into the containerd of every node. It outlives a reboot, not a `down`.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_root
need_cluster

archive=$1
[ -r "$archive" ] || fail "$archive cannot be read"
imports=
for node in $NODES; do
    in_node "$node" ctr --namespace k8s.io images import - <"$archive" >"$STATE/log/import-$node.log" 2>&1 &
    imports="$imports $node=$!"
done
status=0
for it in $imports; do
    if ! wait "${it#*=}"; then
        echo "error: ${it%=*} does not take $archive: $(tail -1 "$STATE/log/import-${it%=*}.log")" >&2
        status=1
    fi
done
[ $status != 0 ] || cat "$STATE/log/import-n1.log"
exit $status
