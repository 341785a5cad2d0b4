//! Every parser as a function of bytes that must not panic, with what must hold of any input.
//!
//! A target is a function here; `fuzz_targets/` hands it to libFuzzer, and the tests of this crate run it on its seeds.
//! See README.md for how to run them.

mod configuration;
mod filters;
mod journals;
mod messages;
mod model;
mod names;
mod netlink;
mod pages;
mod snapshots;

pub use configuration::{
    cni, corefile, flannel_config, hosts, kube_proxy_config, kubelet_config, resolv_conf, subnet_env,
    sysctl_files,
};
pub use filters::{arptables, ipset, iptables, nft, ruleset};
pub use journals::journal;
pub use messages::wire;
pub use model::model;
pub use names::{element, endpoint, fault};
pub use netlink::{netlink, packet};
pub use pages::page;
pub use snapshots::{hop, hop_document, kubectl, redact, samples};

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 28] = [
    ("arptables", arptables),
    ("cni", cni),
    ("corefile", corefile),
    ("element", element),
    ("endpoint", endpoint),
    ("fault", fault),
    ("flannel_config", flannel_config),
    ("hop", hop),
    ("hop_document", hop_document),
    ("hosts", hosts),
    ("ipset", ipset),
    ("iptables", iptables),
    ("journal", journal),
    ("kube_proxy_config", kube_proxy_config),
    ("kubectl", kubectl),
    ("kubelet_config", kubelet_config),
    ("model", model),
    ("netlink", netlink),
    ("nft", nft),
    ("packet", packet),
    ("page", page),
    ("redact", redact),
    ("resolv_conf", resolv_conf),
    ("ruleset", ruleset),
    ("samples", samples),
    ("subnet_env", subnet_env),
    ("sysctl_files", sysctl_files),
    ("wire", wire),
];

/// The input as text; what is not UTF-8 is read as where texts enter a snapshot.
fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}
