//! `SNAT`, `DNAT`, `MASQUERADE`, `REDIRECT`.
//!
//! Kernel: net/netfilter/xt_nat.c, xt_MASQUERADE.c, xt_REDIRECT.c.

use std::net::IpAddr;

use crate::{NatAction, NatKind, Side, iptables::words::Words, put, remark::Problem};

/// A target that translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatTarget {
    /// Which one.
    pub kind: NatKind,
    /// The addresses to choose from, first and last.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The ports to choose from, first and last.
    pub ports: Option<(u16, u16)>,
    /// The port that the first of [`NatTarget::ports`] stands for.
    pub port_base: Option<u16>,
    /// `--random`.
    pub random: bool,
    /// `--random-fully`.
    pub fully_random: bool,
    /// `--persistent`.
    pub persistent: bool,
}

impl NatTarget {
    pub(super) fn read(name: &str, words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let (kind, to) = match name {
            "SNAT" => (NatKind::Snat, "--to-source"),
            "DNAT" => (NatKind::Dnat, "--to-destination"),
            "MASQUERADE" => (NatKind::Masquerade, "--to-ports"),
            _ => (NatKind::Redirect, "--to-ports"),
        };
        let mut all = Self {
            kind,
            addresses: None,
            ports: None,
            port_base: None,
            random: false,
            fully_random: false,
            persistent: false,
        };
        while let Some((not, option)) = words.option() {
            match (option, not) {
                (_, false) if option == to && to == "--to-ports" => {
                    all.ports = Some(words.parse("PORT[-PORT]", ports)?);
                }
                (_, false) if option == to && all.addresses.is_none() && all.ports.is_none() => {
                    (all.addresses, all.ports, all.port_base) =
                        words.parse("ADDRESS[-ADDRESS][:PORT[-PORT[/PORT]]]", destination)?;
                }
                ("--random", false) => all.random = true,
                ("--random-fully", false) => all.fully_random = true,
                ("--persistent", false) => all.persistent = true,
                _ => return Err(words.unexpected(&format!("an option of `-j {name}`"))),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        let (name, to) = match self.kind {
            NatKind::Snat => ("SNAT", " --to-source "),
            NatKind::Dnat | NatKind::Netmap => ("DNAT", " --to-destination "),
            NatKind::Masquerade => ("MASQUERADE", " --to-ports "),
            NatKind::Redirect => ("REDIRECT", " --to-ports "),
        };
        put!(out, " -j {name}");
        if self.addresses.is_some() || self.ports.is_some() {
            out.push_str(to);
        }
        let in_brackets = self.ports.is_some() && self.addresses.is_some_and(|(low, _)| low.is_ipv6());
        if let Some((low, high)) = self.addresses {
            put!(out, "{}{low}", if in_brackets { "[" } else { "" });
            if low != high {
                put!(out, "-{high}");
            }
            out.push_str(if in_brackets { "]" } else { "" });
        }
        if let Some((low, high)) = self.ports {
            if matches!(self.kind, NatKind::Snat | NatKind::Dnat | NatKind::Netmap) {
                out.push(':');
            }
            put!(out, "{low}");
            if low != high {
                put!(out, "-{high}");
            }
        }
        if let Some(base) = self.port_base {
            put!(out, "/{base}");
        }
        let flags = [
            (self.random, " --random"),
            (self.fully_random, " --random-fully"),
            (self.persistent, " --persistent"),
        ];
        for (_, text) in flags.iter().filter(|(is_set, _)| *is_set) {
            out.push_str(text);
        }
    }

    /// What it asks of translation.
    pub(super) fn action(&self) -> NatAction {
        NatAction {
            kind: self.kind,
            side: match self.kind {
                NatKind::Snat | NatKind::Masquerade => Side::Source,
                NatKind::Dnat | NatKind::Redirect | NatKind::Netmap => Side::Destination,
            },
            addresses: self.addresses,
            ports: self.ports,
            port_base: self.port_base,
            random: self.random || self.fully_random,
            persistent: self.persistent,
        }
    }
}

type Range<T> = Option<(T, T)>;

fn ports(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((low.parse().ok()?, high.parse().ok()?))
}

fn addresses(text: &str) -> Option<(IpAddr, IpAddr)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high): (IpAddr, IpAddr) = (low.parse().ok()?, high.parse().ok()?);
    (low.is_ipv4() == high.is_ipv4()).then_some((low, high))
}

/// Reads `1.1.1.1-1.1.1.9:1-2/3`, `:80`, `[::1-::2]:80` or `::1`.
fn destination(text: &str) -> Option<(Range<IpAddr>, Range<u16>, Option<u16>)> {
    let (hosts, tail) = if let Some(inner) = text.strip_prefix('[') {
        let (hosts, tail) = inner.split_once(']')?;
        (hosts, tail.strip_prefix(':'))
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((hosts, tail)) => (hosts, Some(tail)),
            None => (text, None),
        }
    };
    let hosts = if hosts.is_empty() { None } else { Some(addresses(hosts)?) };
    let Some(tail) = tail else { return hosts.map(|it| (Some(it), None, None)) };
    let (range, base) = match tail.split_once('/') {
        Some((range, base)) => (range, Some(base.parse().ok()?)),
        None => (tail, None),
    };
    Some((hosts, Some(ports(range)?), base))
}
