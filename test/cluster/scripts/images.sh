#!/bin/bash
# images.sh KIT: image archives from the programs and Debian's files, to KIT/images. No registry is asked.
set -euo pipefail
. "$(dirname "$0")/env.sh"

kit=$1
layers=$kit/layers
mkdir -p "$kit/images"

# Copies programs and the libraries that they need, to the same places below $1.
put() {
    local root=$1 file library
    shift
    for file; do
        file=$(readlink -f "$file")
        mkdir -p "$root$(dirname "$file")"
        cp "$file" "$root$file"
        for library in $(ldd "$file" 2>/dev/null | grep -oE '/[^ )]+'); do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
    done
}

# The path of a program, or an error that names it.
path_of() {
    command -v "$1" || fail "the program $1 is missing; script/setup cluster says more"
}

# base: a static busybox
base=$layers/base
mkdir -p "$base"/{bin,sbin,usr/bin,usr/sbin,usr/local/bin,etc,tmp,var/run,run,root,proc,sys,dev,lib,lib64}
cp "$(path_of busybox)" "$base/bin/busybox"
for it in $(busybox --list); do
    case $it in
    # These are Debian's own in the layers above.
    busybox | ip | iptables | ping | traceroute | nc) ;;
    *) ln -s /bin/busybox "$base/bin/$it" ;;
    esac
done
chmod 1777 "$base/tmp"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$base/etc/passwd"
echo 'root:x:0:' >"$base/etc/group"
echo 'hosts: files dns' >"$base/etc/nsswitch.conf"

# net: what kube-proxy and flanneld call
net=$layers/net
mkdir -p "$net"/{usr/sbin,etc/iproute2}
for it in xtables-nft-multi xtables-legacy-multi nft conntrack ipset ip ethtool sysctl tc; do
    put "$net" "$(path_of $it)"
done
# With their links: libxt_MASQUERADE and others are links, and iptables-restore fails at --random-fully without them.
for it in /usr/lib/*/xtables; do
    mkdir -p "$net$(dirname "$it")"
    cp -a "$it" "$net$(dirname "$it")/"
done
for it in iptables ip6tables; do
    for verb in "" -save -restore; do
        ln -s xtables-nft-multi "$net/usr/sbin/$it$verb"
        ln -s xtables-nft-multi "$net/usr/sbin/$it-nft$verb"
        ln -s xtables-legacy-multi "$net/usr/sbin/$it-legacy$verb"
    done
done
for it in protocols services iproute2/.; do
    [ ! -e "/etc/$it" ] || cp -r "/etc/$it" "$net/etc/${it%.}"
done

# tool: what somebody in a pod looks with
tool=$layers/tool
mkdir -p "$tool"/usr/{local/bin,bin}
for it in curl dig nslookup ping nc tcpdump traceroute arping; do
    path=$(path_of $it)
    put "$tool" "$path"
    # Some are links of Debian's alternatives.
    real=$(readlink -f "$path")
    if [ "$path" != "$real" ]; then
        mkdir -p "$tool$(dirname "$path")"
        ln -s "$real" "$tool$path"
    fi
done
cp "$kit/bin/hw-tool" "$tool/usr/local/bin/"

pause=$layers/pause
mkdir -p "$pause"
cp "$kit/bin/hw-tool" "$pause/pause"

kube=$layers/kube
mkdir -p "$kube/usr/local/bin"
cp -a "$kit"/bin/{kubernetes,kube-*,kubelet,kubeadm,kubectl,etcd} "$kube/usr/local/bin/"
rm -f "$kube"/usr/local/bin/*.yml

coredns=$layers/coredns
mkdir -p "$coredns"
cp "$kit/bin/coredns" "$coredns/"

flannel=$layers/flannel
mkdir -p "$flannel/opt/bin"
cp "$kit/bin/flanneld" "$flannel/opt/bin/"
cp "$kit/bin/flannel" "$flannel/flannel"

image() {
    local name=$1
    shift
    "$kit/bin/hw-tool" image "$kit/images/$name.tar" "$@"
}
image pause --tag "$REGISTRY/pause:$PAUSE_TAG" --layer "$pause" --entrypoint /pause
# One image by five names, so that its layers are stored once.
image kube --tag "$REGISTRY/etcd:$ETCD_TAG" --tag "$REGISTRY/kube-apiserver:$KUBERNETES" \
    --tag "$REGISTRY/kube-controller-manager:$KUBERNETES" --tag "$REGISTRY/kube-scheduler:$KUBERNETES" \
    --tag "$REGISTRY/kube-proxy:$KUBERNETES" --layer "$base" --layer "$net" --layer "$kube"
image coredns --tag "$REGISTRY/coredns:$COREDNS" --layer "$coredns" --entrypoint /coredns
image flannel --tag "$REGISTRY/flannel:$FLANNEL" --layer "$base" --layer "$net" --layer "$flannel" \
    --entrypoint /opt/bin/flanneld
image tool --tag "$REGISTRY/tool:1" --layer "$base" --layer "$net" --layer "$tool" --entrypoint /usr/local/bin/hw-tool
rm -rf "$layers"
