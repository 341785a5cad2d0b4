#!/bin/bash
# Starts the cluster: underlay, three nodes with systemd, kubeadm, a network plugin, CoreDNS.
#
#   CNI=vxlan|hostgw|static   PROXY=iptables|nftables   DEMO=1 adds the pods that check.sh measures from
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_root
CNI=${CNI:-vxlan} PROXY=${PROXY:-iptables} DEMO=${DEMO:-0}

kit=$(kit)
[ -d "$kit" ] || fail "not built, or its inputs changed since: cargo xtask cluster build"
[ -d "$GROUPS_ROOT/pids" ] || fail "there is no $GROUPS_ROOT/pids: nodes need control groups of version 1"

# --- one cluster on a machine ---

# Held for moments only: what is started later must not inherit it.
exec 9</run
flock 9
if [ -n "$(processes)" ]; then
    fail "a cluster runs already, of $(cat "$MACHINE/owner" 2>/dev/null || echo somebody); see cargo xtask cluster status, down"
fi
"$HERE/scripts/down.sh" --any
mkdir -p "$MACHINE" "$STATE/nodes" "$STATE/log"
echo "$STATE" >"$MACHINE/owner"
# kubelet sets these, and systemd the last two; they are the machine's.
for it in vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys \
    kernel.keys.root_maxbytes fs.file-max fs.nr_open; do
    value=$(sysctl -n "$it" 2>/dev/null) || continue
    echo "$it = $value"
done >"$MACHINE/sysctl.new"
mv "$MACHINE/sysctl.new" "$MACHINE/sysctl.conf"
join_group up
exec 9<&-

log=$STATE/log
trap '[ $? = 0 ] || echo "error: the cluster did not start; logs are in $log; cargo xtask cluster down" >&2' EXIT
begun=$(date +%s%N)
step() {
    local took=$((($(date +%s%N) - begun) / 100000000))
    printf '%3d.%d s  %s\n' $((took / 10)) $((took % 10)) "$*" >&2
}
# Tries a command until it succeeds, 0.1 s apart; fails after $1 seconds.
within() {
    local until=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$until" ] || fail "still not after the time it gets: $*"
        sleep 0.1
    done
}

# --- ways in from the machine ---

mkdir -m 700 "$STATE/ssh"
ln -s "$kit/bin" "$STATE/bin"
ssh-keygen -q -t ed25519 -N '' -C hopwise-cluster -f "$STATE/ssh/id"
for node in $NODES; do
    ssh-keygen -q -t ed25519 -N '' -C "$node" -f "$STATE/ssh/host_$node"
done
"$HERE/scripts/fabric.sh" "$kit"
port() {
    awk -v name="$1" '$1 == name { print $2 }' "$STATE/ports"
}
for node in $NODES; do
    echo "$node $(cut -d' ' -f1,2 "$STATE/ssh/host_$node.pub")" >>"$STATE/ssh/known_hosts"
    cat >>"$STATE/ssh/config" <<CONFIG
Host $node
    HostName 127.0.0.1
    HostKeyAlias $node
    Port $(port "$node")
CONFIG
done
cat >>"$STATE/ssh/config" <<CONFIG
Host *
    User root
    IdentityFile $STATE/ssh/id
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $STATE/ssh/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    LogLevel ERROR
CONFIG
step underlay

# --- nodes ---

for node in $NODES; do
    mkdir -p "$STATE/nodes/$node/var"
    # Layers are never written again, so nodes share them by hard links; containerd's databases are each node's own.
    # Another file system than the cache's gets copies.
    if ! cp -al "$kit/containerd" "$STATE/nodes/$node/var/containerd" 2>/dev/null; then
        rm -rf "$STATE/nodes/$node/var/containerd"
        cp -a "$kit/containerd" "$STATE/nodes/$node/var/containerd"
    fi
    find "$STATE/nodes/$node/var/containerd" -name '*.db' -print0 | while read -rd '' it; do
        cp "$it" "$it.own"
        mv "$it.own" "$it"
    done
done
step "image stores"
for node in $NODES; do
    setsid "$HERE/scripts/node-start.sh" "$node" "$kit" >"$log/$node.log" 2>&1 </dev/null &
done
for node in $NODES; do
    within 60 in_node "$node" ctr version
done
step "containerd on all nodes"

# --- Kubernetes ---

fill() {
    sed -e "s/@KUBERNETES@/$KUBERNETES/; s/@PROXY@/$PROXY/; s/@CA@/${ca:-}/; s/@NODE@/${1:-}/" \
        -e "s/@ADDRESS@/$(address "${1:-n1}")/"
}
# Runs kubeadm in a node with the configuration that it is given.
kubeadm_in() {
    local node=$1 verb=$2
    if ! in_node "$node" sh -c "cat > /etc/kubernetes/$verb.yaml && kubeadm $verb --config /etc/kubernetes/$verb.yaml" \
        >"$log/kubeadm-$node.log" 2>&1; then
        tail -20 "$log/kubeadm-$node.log" >&2
        return 1
    fi
}
fill <"$HERE/config/kubeadm-init.yaml" | kubeadm_in n1 init
(
    umask 077
    in_node n1 cat /etc/kubernetes/admin.conf |
        sed "s#server: .*#server: https://127.0.0.1:$(port api)#" >"$STATE/kubeconfig.new"
)
# The clone may be somebody else's than root's.
chown --reference="$ROOT" "$STATE/kubeconfig.new" "$STATE/ssh" "$STATE"/ssh/*
mv "$STATE/kubeconfig.new" "$STATE/kubeconfig"
step "kubeadm init"

flannel=$(sed -E "s#image: .*flannel.*#image: $REGISTRY/flannel:$FLANNEL#" "$kit/bin/kube-flannel.yml")
case $CNI in
vxlan) kc apply -f - <<<"$flannel" >"$log/flannel.log" ;;
hostgw) sed 's/"Type": "vxlan"/"Type": "host-gw"/' <<<"$flannel" | kc apply -f - >"$log/flannel.log" ;;
static) ;;
*) fail "expected vxlan, hostgw or static, found CNI=$CNI" ;;
esac
# Before the controller manager has signed it, kubeadm's discovery waits in steps of 5 s.
is_signed() {
    kc -n kube-public get configmap cluster-info -o yaml | grep -q jws-kubeconfig
}
within 60 is_signed
step "cluster-info signed"
ca=$(grep -oE 'sha256:[0-9a-f]{64}' "$log/kubeadm-n1.log" | head -1)
joins=
for node in n2 n3; do
    fill "$node" <"$HERE/config/kubeadm-join.yaml" | kubeadm_in "$node" join &
    joins="$joins $!"
done
for it in $joins; do
    wait "$it"
done
step "kubeadm join"

if [ "$CNI" = static ]; then
    "$HERE/scripts/cni-static.sh"
    step "static routes"
fi
# kubeadm returns before kubelet has registered its node.
within 60 kc label --overwrite node n2 n3 role=worker
kc wait --for=condition=Ready node --all --timeout=180s >/dev/null
step "nodes ready"
if [ "$CNI" != static ]; then
    kc -n kube-flannel rollout status daemonset/kube-flannel-ds --timeout=90s >/dev/null
    # A pod of flannel is ready when it runs, which is before it has a subnet.
    for node in $NODES; do
        within 60 in_node "$node" test -s /run/flannel/subnet.env
    done
    # Pods that met the plugin before flannel wrote subnet.env wait 13 s for kubelet's next try; new ones do not.
    kc -n kube-system delete pod -l k8s-app=kube-dns --field-selector status.phase=Pending --wait=false >/dev/null
    step "flannel ready"
fi
kc -n kube-system rollout status deployment/coredns --timeout=180s >/dev/null
kc -n kube-system rollout status daemonset/kube-proxy --timeout=90s >/dev/null
step "CoreDNS ready"
if [ "$DEMO" = 1 ]; then
    kc apply -f "$HERE/config/demo.yaml" >"$log/demo.log"
    kc rollout status deployment/echo --timeout=90s >/dev/null
    kc rollout status daemonset/tool --timeout=90s >/dev/null
    step "demo pods ready"
fi
echo "CNI=$CNI PROXY=$PROXY" >"$STATE/up.conf"
kc get nodes -o wide
