#!/bin/bash
# template.sh KIT: unpacks all images into a store of containerd, KIT/containerd, which nodes then link instead of
# importing for 10 s each. containerd runs alone for that, in namespaces that end with this script.
set -euo pipefail
. "$(dirname "$0")/env.sh"

kit=$1
store=$kit/containerd
run=$(mktemp -d /run/hopwise-template.XXXXXX)
trap 'rm -rf "$run"' EXIT
mkdir "$store"
cat >"$run/config.toml" <<TOML
version = 2
root = "$store"
state = "$run/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$run/socket"
[ttrpc]
  address = "$run/socket.ttrpc"
TOML
setpriv --pdeathsig KILL unshare -m -n -p -f --mount-proc --kill-child containerd --config "$run/config.toml" >"$run/log" 2>&1 &
daemon=$!
ctr() {
    command ctr --address "$run/socket" --namespace k8s.io "$@"
}
for _ in $(seq 100); do
    ! ctr version >/dev/null 2>&1 || break
    sleep 0.1
done
for it in "$kit"/images/*.tar; do
    ctr images import "$it" >/dev/null || { tail -5 "$run/log" >&2 && fail "containerd does not import $it"; }
done
# kubelet must not see an image as a stranger's, which the interface for kubelet tells by this label.
for it in $(ctr images ls -q); do
    ctr images label "$it" io.cri-containerd.image=managed >/dev/null
done
# What was started here is the parent of containerd, which would not hand the signal on.
# shellcheck disable=SC2046 # One word a process.
kill -TERM $(cat "/proc/$daemon/task/$daemon/children") || true
wait "$daemon" || true
