//! The files of a node, as Debian, kubeadm, flannel and kubelet leave them.

use std::io;

use super::{Common, files::Tree, open_directory};
use crate::{
    LabError,
    error::chain,
    layout::{Layout, NodeLayout},
    network::Wanted,
    objects::{ObjectStore, cni_configuration, kubelet_configuration},
};

/// The files of a node.
pub(super) fn node_files(common: &Common, node: &NodeLayout) -> io::Result<Tree> {
    let layout = &common.layout;
    let mut tree = Tree::of_this_machine();
    tree.file("/etc/hostname", format!("{}\n", node.name))
        .file("/etc/hosts", hosts(layout, node))
        .file("/etc/resolv.conf", resolv_conf(layout))
        .file("/etc/host.conf", HOST_CONF)
        .file("/etc/nsswitch.conf", NSSWITCH)
        .file("/etc/modules-load.d/k8s.conf", "overlay\nbr_netfilter\n")
        .file("/etc/sysctl.conf", SYSCTL_CONF)
        .link("/etc/sysctl.d/99-sysctl.conf", "../sysctl.conf")
        .file("/etc/sysctl.d/k8s.conf", k8s_conf(layout))
        .file("/etc/cni/net.d/10-flannel.conflist", cni_configuration())
        .file("/run/flannel/subnet.env", subnet_env(common, node)?)
        .file("/run/xtables.lock", "")
        .file("/var/lib/kubelet/config.yaml", kubelet_configuration("unix:///run/containerd/containerd.sock"))
        .directory("/run/netns")
        .directory("/var/log/pods")
        .directory("/var/lib/cni");
    for program in ["bridge", "flannel", "host-local", "loopback", "portmap"] {
        tree.program(&format!("/opt/cni/bin/{program}"));
    }
    Ok(tree)
}

/// What flannel writes for its CNI plugin.
fn subnet_env(common: &Common, node: &NodeLayout) -> io::Result<String> {
    let failed = |error: LabError| io::Error::other(chain(&error));
    let cluster = ObjectStore::new(open_directory(&common.objects)).cluster().map_err(failed)?;
    let wanted = Wanted::of_node(&cluster, node).map_err(failed)?;
    Ok(wanted.flannel.subnet_env.to_string())
}

/// The files of a member that is no node: it resolves nothing.
pub(super) fn plain_files(name: &str) -> Tree {
    let mut tree = Tree::of_this_machine();
    tree.file("/etc/hostname", format!("{name}\n"))
        .file("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
        .file("/etc/resolv.conf", "")
        .file("/etc/host.conf", HOST_CONF)
        .file("/etc/nsswitch.conf", NSSWITCH)
        .directory("/run/netns");
    tree
}

/// What Debian installs: a name may have several addresses in `/etc/hosts`.
pub(super) const HOST_CONF: &str = "multi on\n";

pub(super) const NSSWITCH: &str = "\
passwd:         files
group:          files
shadow:         files
gshadow:        files

hosts:          files dns
networks:       files

protocols:      db files
services:       db files
ethers:         db files
rpc:            db files

netgroup:       nis
";

/// Debian's own file: everything is commented out.
const SYSCTL_CONF: &str = "\
#
# /etc/sysctl.conf - Configuration file for setting system variables
# See /etc/sysctl.d/ for additional system variables.
# See sysctl.conf (5) for information.
#
";

fn k8s_conf(layout: &Layout) -> String {
    let mut text = "\
net.bridge.bridge-nf-call-iptables  = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward                 = 1
"
    .to_owned();
    if layout.base.has_ipv6() {
        text.push_str("net.ipv6.conf.all.forwarding        = 1\n");
    }
    text
}

fn resolv_conf(layout: &Layout) -> String {
    format!("nameserver {}\n", layout.upstream_addresses()[0])
}

fn hosts(layout: &Layout, node: &NodeLayout) -> String {
    let mut text = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{}\n\n", node.name);
    text.push_str(
        "::1     localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n\n",
    );
    text.extend(layout.nodes.iter().map(|it| format!("{}\t{}\n", it.addresses[0], it.name)));
    text
}
