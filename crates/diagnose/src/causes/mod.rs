//! Every cause, in the order of its code.

mod cni;
mod dns;
mod firewall;
mod general;
mod kubelet;
mod link;
mod mtu;
mod node;
mod overlay;
mod policy;
mod proxy;
mod route;
mod service;

use crate::cause::{Cause, Code};

pub(crate) use general::{fallback, program_decides};

/// Every cause, in the order of its code.
pub fn all() -> impl Iterator<Item = &'static Cause> {
    let groups: [&'static [&'static Cause]; 13] = [
        node::CAUSES,
        firewall::CAUSES,
        cni::CAUSES,
        link::CAUSES,
        route::CAUSES,
        overlay::CAUSES,
        mtu::CAUSES,
        proxy::CAUSES,
        service::CAUSES,
        dns::CAUSES,
        kubelet::CAUSES,
        policy::CAUSES,
        general::CAUSES,
    ];
    groups.into_iter().flatten().copied()
}

/// The cause with this code or name.
pub fn find(code_or_name: &str) -> Option<&'static Cause> {
    all().find(|it| it.name == code_or_name || it.code.to_string().eq_ignore_ascii_case(code_or_name))
}

/// The folder that a cause's file lies in: the group of its code.
pub fn group(code: Code) -> &'static str {
    match code.0 / 100 {
        10 => "node",
        11 => "firewall",
        12 => "cni",
        13 => "link",
        14 => "route",
        15 => "overlay",
        16 => "mtu",
        17 => "proxy",
        18 => "service",
        19 => "dns",
        20 => "kubelet",
        22 => "policy",
        _ => "general",
    }
}
