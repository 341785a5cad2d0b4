# shellcheck shell=bash
# What is built: the pinned versions, and the names of the directories in which results are kept. Sourced by env.sh.
# shellcheck disable=SC2034 # Used by who sources this.

REGISTRY=hopwise.test

# --- what is pinned in go.mod ---

# The version of module $2 in go/$1/go.mod.
pinned() {
    awk -v module="$2" '$1 == "require" { $1 = ""; $0 = $0 } $1 == module { print $2; exit }' "$HERE/go/$1/go.mod"
}

KUBERNETES=$(pinned kubernetes k8s.io/kubernetes)
ETCD=$(pinned kubernetes go.etcd.io/etcd/server/v3)
FLANNEL=$(pinned flanneld github.com/flannel-io/flannel)
COREDNS=$(pinned coredns github.com/coredns/coredns)
# The tags that kubeadm of this version asks for; what they hold is the above.
ETCD_TAG=3.6.5-0
PAUSE_TAG=3.10.1

# --- what was built: keys of the inputs name the directories ---

# One line for the content of files and directories.
digest() {
    (cd "$HERE" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-12
}

# The directory of one program below $CACHE/programs.
program() {
    case $1 in
    kubernetes) echo "kubernetes-$KUBERNETES-$(digest go/kubernetes scripts/programs.sh)" ;;
    flanneld) echo "flanneld-$FLANNEL-$(digest go/flanneld scripts/programs.sh)" ;;
    coredns) echo "coredns-$COREDNS-$(digest go/coredns scripts/programs.sh)" ;;
    cni) echo "cni-$(pinned cni github.com/containernetworking/plugins)-$(digest go/cni scripts/programs.sh)" ;;
    tool) echo "tool-$(digest go/tool scripts/programs.sh)" ;;
    esac
}
PROGRAMS="kubernetes flanneld coredns cni tool"

# Debian's packages whose files go into images and nodes.
PACKAGES="busybox-static iptables nftables conntrack ipset iproute2 ethtool procps curl bind9-dnsutils bind9-host
    iputils-ping iputils-arping netcat-openbsd tcpdump traceroute containerd runc"

# The directory of everything that nodes need: programs, images, unpacked images, packages of the nodes alone.
kit() {
    local it inputs
    inputs=$(
        for it in $PROGRAMS; do program "$it"; done
        digest config/containerd.toml scripts/kit.sh scripts/images.sh scripts/template.sh scripts/packages.sh
        # shellcheck disable=SC2086 # One word a package.
        dpkg-query --show --showformat '${Package} ${Version}\n' $PACKAGES systemd openssh-client 2>/dev/null
    )
    echo "$CACHE/kit-$KUBERNETES-$(printf '%s' "$inputs" | sha256sum | cut -c1-12)"
}
