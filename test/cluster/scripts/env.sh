# shellcheck shell=bash
# What all scripts share: names, addresses, and how a node is entered. Sourced, never run.
#
# Only one cluster runs on a machine, because these names are the machine's: network namespaces hw-*, control groups
# hopwise, $UPPER and $MACHINE. Everything else lies below $STATE, in this clone, and below $CACHE.
# shellcheck disable=SC2034 # Used by who sources this.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
STATE=${HOPWISE_CLUSTER_STATE:-$ROOT/target/cluster}
CACHE=${HOPWISE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hopwise/cluster}

# What must be found again when $STATE was deleted: whose the cluster is, and kernel settings to be put back.
MACHINE=/run/hopwise-cluster
# What the nodes write to their root file system. It must not lie in the file system of /, and must outlive a node.
UPPER=/dev/shm/hopwise-cluster

NODES="n1 n2 n3"
FABRIC=hw-fabric
UNDERLAY=192.168.50
PODS=10.244.0.0/16

# Programs of the system may not be on a caller's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
export PATH

# What is made is read by others: nodes' users, the owner of the clone.
umask 022

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "a cluster of namespaces needs root: run this with sudo"
}

address() {
    echo "$UNDERLAY.1${1#n}"
}

is_node() {
    case " $NODES " in *" $1 "*) true ;; *) false ;; esac
}

# shellcheck source=test/cluster/scripts/kit.sh
. "$HERE/scripts/kit.sh"

# --- control groups: every process of the cluster is in one of them, so that `down` finds it ---

GROUPS_ROOT=/sys/fs/cgroup

# The hierarchies of version 1, and the one of version 2 beside them, by the names of their directories.
hierarchies() {
    awk -v root="$GROUPS_ROOT/" '($3 == "cgroup" || $3 == "cgroup2") && index($2, root) == 1 {
        print substr($2, length(root) + 1) }' /proc/mounts
}

# Puts the calling process into hopwise/$1 of the hierarchy in which processes are counted.
join_group() {
    mkdir -p "$GROUPS_ROOT/pids/hopwise/$1"
    echo "$BASHPID" >"$GROUPS_ROOT/pids/hopwise/$1/cgroup.procs"
}

# The processes in hopwise/$1, or of the whole cluster.
processes() {
    find "$GROUPS_ROOT/pids/hopwise${1:+/$1}" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

# Ends all processes in hopwise/$1 and waits until the kernel has forgotten them.
end_processes() {
    local left
    for _ in $(seq 200); do
        left=$(processes "${1:-}")
        [ -n "$left" ] || return 0
        # shellcheck disable=SC2086 # One word a process.
        kill -KILL $left 2>/dev/null || true
        sleep 0.05
    done
    echo "error: still there, in $GROUPS_ROOT/pids/hopwise: $(echo "$left" | tr '\n' ' ')" >&2
    return 1
}

remove_groups() {
    local it
    for it in $(hierarchies); do
        find "$GROUPS_ROOT/$it/hopwise${1:+/$1}" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

# --- nodes ---

# The node's PID 1 as the machine sees it: the child of the process that made the namespaces.
node_pid() {
    local parent
    parent=$(cat "$STATE/nodes/$1/parent.pid" 2>/dev/null) || return 1
    # A number alone could be anybody's by now.
    grep -qs "/hopwise/$1\$" "/proc/$parent/cgroup" || return 1
    tr -d ' ' <"/proc/$parent/task/$parent/children"
}

# Becomes a command in all namespaces and control groups of a node.
enter_node() {
    local node=$1 pid it
    shift
    if ! pid=$(node_pid "$node") || [ -z "$pid" ]; then
        fail "$node does not run; see cargo xtask cluster status"
    fi
    for it in $(hierarchies); do
        # One that a controller has taken away from the node is no reason not to look.
        echo "$BASHPID" 2>/dev/null >"$GROUPS_ROOT/$it/hopwise/$node/cgroup.procs" || true
    done
    exec nsenter -t "$pid" -m -u -i -n -p -C -- env -i \
        PATH=/opt/hopwise/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" KUBECONFIG=/etc/kubernetes/admin.conf "$@"
}

# Runs one, and comes back.
in_node() {
    (enter_node "$@")
}

# kubectl as a user of the machine.
kc() {
    "$STATE/bin/kubectl" --kubeconfig "$STATE/kubeconfig" "$@"
}

# Does a cluster of this clone run?
need_cluster() {
    [ -e "$STATE/kubeconfig" ] || fail "no cluster of this clone runs; cargo xtask cluster up starts one"
}
