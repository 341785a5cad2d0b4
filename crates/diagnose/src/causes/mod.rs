//! Every cause, in the order of its code.

mod cni;
mod firewall;
mod general;
mod kubelet;
mod link;
mod mtu;
mod node;
mod overlay;
mod proxy;
mod route;

use crate::cause::{Cause, Code};

pub(crate) use general::{fallback, program_decides};

/// Every cause, in the order of its code.
pub fn all() -> impl Iterator<Item = &'static Cause> {
    let groups: [&'static [&'static Cause]; 10] = [
        node::CAUSES,
        firewall::CAUSES,
        cni::CAUSES,
        link::CAUSES,
        route::CAUSES,
        overlay::CAUSES,
        mtu::CAUSES,
        proxy::CAUSES,
        kubelet::CAUSES,
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
        20 => "kubelet",
        _ => "general",
    }
}
