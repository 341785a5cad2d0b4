#!/bin/bash
# A pod network without an agent: the plugins bridge, host-local and portmap with each node's own range, and a route to
# every other node's range, as flannel's host-gw has it. What leaves the pods' network is masqueraded.
set -euo pipefail
. "$(dirname "$0")/env.sh"

range_of() {
    local range
    for _ in $(seq 100); do
        range=$(kc get node "$1" -o jsonpath='{.spec.podCIDR}' 2>/dev/null || true)
        [ -z "$range" ] || break
        sleep 0.2
    done
    [ -n "$range" ] || fail "$1 was given no range of pods' addresses"
    echo "$range"
}

for node in $NODES; do
    range=$(range_of "$node")
    in_node "$node" sh -c 'rm -f /etc/cni/net.d/* && cat >/etc/cni/net.d/10-bridge.conflist' <<JSON
{
  "cniVersion": "0.4.0",
  "name": "podnet",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
      "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "$range"}]]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
    # A service, so that a boot brings back what a boot takes away.
    {
        echo "iptables -t nat -A POSTROUTING -s $PODS ! -d $PODS -j MASQUERADE"
        for other in $NODES; do
            [ "$other" = "$node" ] || echo "ip route replace $(range_of "$other") via $(address "$other")"
        done
    } | in_node "$node" sh -c 'echo "#!/bin/sh -e" >/etc/pod-routes && cat >>/etc/pod-routes && chmod 755 /etc/pod-routes'
    in_node "$node" sh -c 'cat >/etc/systemd/system/pod-routes.service &&
        ln -sf ../pod-routes.service /etc/systemd/system/multi-user.target.wants/ &&
        mkdir -p /etc/systemd/system/hopwise.target.wants &&
        ln -sf ../pod-routes.service /etc/systemd/system/hopwise.target.wants/ &&
        systemctl daemon-reload && systemctl start pod-routes.service' <<UNIT
[Unit]
Description=Routes to the pods of other nodes

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/etc/pod-routes
UNIT
done
