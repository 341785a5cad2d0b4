//! The languages of name resolution: resolv.conf, hosts files and Corefiles.
//!
//! Read [`ResolvConf`], [`Hosts`] and [`Corefile`]: each is parsed from bytes, keeps line numbers, and lists what its
//! real reader would ignore, refuse or understand differently as remarks.
//!
//! What is deliberately absent: I/O and opinions. A parser here says what the C library or CoreDNS makes of a text;
//! whether a name server answers, or should be asked, is decided elsewhere. No input makes a parser fail or panic.

#![deny(clippy::disallowed_methods)]

mod corefile;
mod hosts;
mod resolv_conf;
mod text;

pub use corefile::{
    Cache, Corefile, CorefileRemark, CorefileRemarkKind, Directive, Forward, ForwardPolicy, Health,
    HostsPlugin, Kubernetes, PodMode, Ready, ServerBlock, ServerKey, Severity, Sources, Transport, Upstream,
    Word,
};
pub use hosts::{Hosts, HostsEntry, HostsRemark, HostsRemarkKind};
pub use resolv_conf::{Nameserver, Options, ResolvConf, ResolvConfRemark, ResolvConfRemarkKind, Resolver};
