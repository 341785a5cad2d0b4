//! Kernel switches of members.

use std::{fs, path::PathBuf};

use crate::{LabError, layout::Base};

/// Switches with their values, in the order in which they are to be set.
pub(crate) type Settings = Vec<(String, &'static str)>;

/// What Debian and systemd leave every interface with. A new network namespace copies the machine's own values of
/// `conf.all` and `conf.default` for IPv4 (`net/ipv4/devinet.c`, `devinet_init_net`), whatever they are.
const INTERFACE_DEFAULTS: &[(&str, &str)] = &[
    ("accept_local", "0"),
    ("accept_redirects", "1"),
    ("accept_source_route", "1"),
    ("arp_accept", "0"),
    ("arp_announce", "0"),
    ("arp_filter", "0"),
    ("arp_ignore", "0"),
    ("arp_notify", "0"),
    ("log_martians", "0"),
    ("promote_secondaries", "0"),
    ("proxy_arp", "0"),
    ("route_localnet", "0"),
    ("rp_filter", "0"),
    ("secure_redirects", "1"),
    ("send_redirects", "1"),
    ("shared_media", "1"),
];

/// A new namespace's own interfaces, before there are others.
fn baseline() -> Settings {
    let mut settings = Vec::new();
    for interface in ["all", "default", "lo"] {
        for (key, value) in INTERFACE_DEFAULTS {
            let value = if interface == "all" && *key == "accept_source_route" { "0" } else { value };
            settings.push((format!("net.ipv4.conf.{interface}.{key}"), value));
        }
    }
    settings
}

/// Addresses are to be used at once: no second of looking for duplicates while the lab is built.
fn without_duplicate_detection() -> Settings {
    vec![
        ("net.ipv6.conf.all.accept_dad".to_owned(), "0"),
        ("net.ipv6.conf.default.accept_dad".to_owned(), "0"),
    ]
}

/// A node before it has interfaces: Debian's values, `/etc/sysctl.d/k8s.conf`, and what kube-proxy 1.34 sets when it
/// starts.
pub(crate) fn of_new_node(base: Base) -> Settings {
    let mut settings = baseline();
    settings.extend(without_duplicate_detection());
    settings.extend(
        [
            ("net.ipv4.ip_forward", "1"),
            ("net.bridge.bridge-nf-call-iptables", "1"),
            ("net.bridge.bridge-nf-call-ip6tables", "1"),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    settings.push(("net.ipv6.conf.all.forwarding".to_owned(), if base.has_ipv6() { "1" } else { "0" }));
    settings.extend(of_kube_proxy());
    settings
}

/// What kube-proxy 1.34 sets when it starts (`cmd/kube-proxy/app/conntrack.go`, `pkg/proxy/iptables/proxier.go`).
pub(crate) fn of_kube_proxy() -> Settings {
    vec![
        ("net.ipv4.conf.all.route_localnet".to_owned(), "1"),
        ("net.netfilter.nf_conntrack_tcp_timeout_established".to_owned(), "86400"),
        ("net.netfilter.nf_conntrack_tcp_timeout_close_wait".to_owned(), "3600"),
    ]
}

/// A node that has its interfaces: duplicates are looked for again, and the bridge plugin owns the routes of its
/// interfaces (CNI plugins 1.1, `plugins/main/bridge/bridge.go`, `pkg/ip/link_linux.go`).
pub(crate) fn of_built_node<'a>(
    bridge: &'a str,
    veths: impl Iterator<Item = &'a str>,
    others: &[&str],
) -> Settings {
    let mut settings = vec![("net.ipv6.conf.default.accept_dad".to_owned(), "1")];
    for interface in others {
        settings.push((format!("net.ipv6.conf.{interface}.accept_dad"), "1"));
    }
    for interface in veths.chain([bridge]) {
        settings.push((format!("net.ipv6.conf.{interface}.accept_dad"), "1"));
        settings.push((format!("net.ipv6.conf.{interface}.accept_ra"), "0"));
    }
    settings
}

/// A pod before it has interfaces. The real plugin sets the two switches on the interface between making it and
/// giving it addresses; here the interface is born with them.
pub(crate) fn of_new_pod() -> Settings {
    let mut settings = baseline();
    settings.extend(without_duplicate_detection());
    settings.push(("net.ipv4.ip_forward".to_owned(), "1"));
    settings.push(("net.ipv4.conf.default.arp_notify".to_owned(), "1"));
    settings
}

/// A pod that has its interface.
pub(crate) fn of_built_pod() -> Settings {
    vec![
        ("net.ipv4.conf.default.arp_notify".to_owned(), "0"),
        ("net.ipv6.conf.default.accept_dad".to_owned(), "1"),
    ]
}

/// The outside, which routes for nobody.
pub(crate) fn of_outside() -> Settings {
    let mut settings = baseline();
    settings.extend(without_duplicate_detection());
    settings.push(("net.ipv4.ip_forward".to_owned(), "0"));
    settings.push(("net.ipv6.conf.all.forwarding".to_owned(), "0"));
    settings
}

/// The underlay: a switch, past which no packet filter looks.
pub(crate) fn of_fabric() -> Settings {
    let mut settings = without_duplicate_detection();
    settings.extend(
        ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"]
            .map(|key| (key.to_owned(), "0")),
    );
    settings
}

/// Sets switches of the calling thread's network namespace.
///
/// A switch that this kernel does not have is left out; one that refuses its value is an error.
pub(crate) fn apply(settings: &Settings) -> Result<(), LabError> {
    for (key, value) in settings {
        let path = path(key);
        match fs::write(&path, value) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(LabError::Write { path, source }),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The file of a switch. In the key `.` separates and `/` stands for a `.` in a name, as sysctl(8) has it.
pub(crate) fn path(key: &str) -> PathBuf {
    let relative: String = key
        .chars()
        .map(|it| match it {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    PathBuf::from("/proc/sys").join(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_an_interfaces_name_is_written_as_a_slash() {
        let path = path("net.ipv4.conf.flannel/1.rp_filter");
        assert_eq!(path, PathBuf::from("/proc/sys/net/ipv4/conf/flannel.1/rp_filter"));
    }
}
