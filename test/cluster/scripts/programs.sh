#!/bin/bash
# programs.sh PROGRAM DIRECTORY: builds one program from the modules that go/PROGRAM/go.mod and go.sum pin.
set -euo pipefail
. "$(dirname "$0")/env.sh"

name=$1
out=$2
# The module is only read there: nothing is written into the sources.
cd "$HERE/go/$name"

command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || fail "go is missing (1.25 or newer): https://go.dev/dl"

# Static files, so that they run in any image. Who started this may be killed; the compiler then ends too.
export CGO_ENABLED=0 GOWORK=off
build() {
    setpriv --pdeathsig KILL go build -trimpath -mod=readonly "$@"
}

case $name in
kubernetes)
    # kubeadm looks at the version that it and the others were built as.
    minor=${KUBERNETES#v1.}
    flags="-s -w"
    for it in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags="$flags -X $it.gitVersion=$KUBERNETES -X $it.gitMajor=1 -X $it.gitMinor=${minor%%.*}"
        flags="$flags -X $it.gitTreeState=clean -X $it.gitCommit=0000000000000000000000000000000000000000"
        flags="$flags -X $it.buildDate=1970-01-01T00:00:00Z"
    done
    build -tags selinux,notest,grpcnotrace -ldflags "$flags" -o "$out/kubernetes" .
    ;;
flanneld)
    # flannel's own main.go from its module, without the back ends that need C, other kernel parts, or modules of clouds
    # that the proxy refuses. vxlan and host-gw stay.
    module=$(go mod download -json "github.com/flannel-io/flannel@$FLANNEL" | jq -r .Dir)
    source=$(mktemp -d "$out/source.XXXXXX")
    cp go.mod go.sum "$source/"
    grep -vE '/pkg/backend/(alloc|extension|ipip|ipsec|tencentvpc|udp|wireguard|alivpc|awsvpc|gce)"' \
        "$module/main.go" >"$source/main.go"
    cp "$module/Documentation/kube-flannel.yml" "$out/kube-flannel.yml"
    chmod 644 "$out/kube-flannel.yml"
    cd "$source"
    build -ldflags "-s -w -X github.com/flannel-io/flannel/pkg/version.Version=$FLANNEL" -o "$out/flanneld" .
    cd "$out"
    rm -rf "$source"
    ;;
coredns)
    build -ldflags "-s -w" -o "$out/coredns" github.com/coredns/coredns
    ;;
cni)
    # flannel's CNI plugin, from before it moved to a module of its own.
    build -ldflags "-s -w" -o "$out/flannel" github.com/containernetworking/plugins/plugins/meta/flannel
    ;;
tool)
    build -ldflags "-s -w" -o "$out/hw-tool" .
    ;;
*) fail "no program is called $name" ;;
esac
