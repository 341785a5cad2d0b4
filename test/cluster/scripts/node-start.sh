#!/bin/bash
# node-start.sh NODE KIT: enters the node's control groups, then becomes the parent of its PID 1. Every process and
# every mount of the node ends with either of them.
set -euo pipefail
. "$(dirname "$0")/env.sh"

node=$1
for it in $(hierarchies); do
    group=$GROUPS_ROOT/$it/hopwise/$node
    mkdir -p "$group"
    case ,$it, in
    *,cpuset,*)
        # A new one has no processor and takes no process.
        for file in cpus mems; do
            cat "$GROUPS_ROOT/$it/cpuset.$file" >"$GROUPS_ROOT/$it/hopwise/cpuset.$file"
            cat "$GROUPS_ROOT/$it/cpuset.$file" >"$group/cpuset.$file"
        done
        ;;
    esac
    echo $$ >"$group/cgroup.procs"
done
mkdir -p "$STATE/nodes/$node"
echo $$ >"$STATE/nodes/$node/parent.pid"
# With a control group namespace kubelet sees its own root, and no node needs a configuration of its own.
exec nsenter --net="/run/netns/hw-$node" unshare -C -m -u -i -p -f --kill-child --propagation private \
    "$HERE/scripts/node-init.sh" "$node" "$2"
