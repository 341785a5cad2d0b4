#!/bin/bash
# Builds all that nodes need, once: programs from Go modules, images and nodes' packages from Debian's, and the images
# unpacked as a template. What lies in $CACHE by the name of its inputs is not built again.
#
# Each result is made in a directory of its own and gets its name when it is complete, so a build that was killed leaves
# nothing that is taken for a result. One build runs at a time; the next one removes what the last one left.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_root

mkdir -p "$CACHE/programs"
exec 9>"$CACHE/lock"
flock --nonblock 9 || { echo "another build runs; waiting for it" >&2 && flock 9; }
rm -rf "$CACHE"/new.* /run/hopwise-template.*

# Runs a part, which ends with this.
part() {
    setpriv --pdeathsig KILL "$HERE/scripts/$1.sh" "${@:2}"
}

begun=$(date +%s)
step() {
    printf '%4d s  %s\n' $(($(date +%s) - begun)) "$*" >&2
}

for it in $PROGRAMS; do
    result=$CACHE/programs/$(program "$it")
    [ ! -d "$result" ] || continue
    step "building $(basename "$result")"
    new=$(mktemp -d "$CACHE/new.XXXXXX")
    part programs "$it" "$new"
    chmod 755 "$new"
    mv "$new" "$result"
done

kit=$(kit)
if [ ! -d "$kit" ]; then
    new=$(mktemp -d "$CACHE/new.XXXXXX")
    mkdir "$new/bin"
    for it in $PROGRAMS; do
        cp -al "$CACHE/programs/$(program "$it")/." "$new/bin/"
    done
    for it in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl etcd; do
        ln -s kubernetes "$new/bin/$it"
    done
    step "fetching the packages of nodes"
    part packages "$new"
    step "making images"
    part images "$new"
    step "unpacking images"
    part template "$new"
    chmod 755 "$new"
    mv "$new" "$kit"
fi
step "ready: $kit"
