//! What iptables rules do in the end.

mod apply;
mod mark;
mod nat;
mod sets;

use std::net::IpAddr;

use super::{AddressMask, Masked, Span, Unknown, header};
use crate::{
    RejectWith,
    iptables::words::{Words, masked, span},
    put,
    remark::Problem,
};

pub(crate) use apply::{map_address, takes_handshake};
pub use mark::{ConnmarkTarget, MarkTarget};
pub use nat::NatTarget;
pub use sets::SetTarget;

/// What an iptables rule does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// Lets the packet past this table's hook.
    Accept,
    /// Drops it.
    Drop,
    /// Ends this chain; in a base chain the policy decides.
    Return,
    /// Runs a chain and comes back.
    Jump(String),
    /// Runs a chain and comes back to where this one would.
    Goto(String),
    /// Drops it and tells the sender.
    Reject(RejectTarget),
    /// Hands it to a program.
    Nfqueue(NfqueueTarget),
    /// Changes the packet mark.
    Mark(MarkTarget),
    /// Changes the connection's mark, or copies marks.
    Connmark(ConnmarkTarget),
    /// Changes how connection tracking takes the packet.
    Ct(CtTarget),
    /// Takes the packet out of tracking (an older word for `CT --notrack`).
    Notrack,
    /// Translates addresses.
    Nat(NatTarget),
    /// Translates a network to another.
    Netmap(AddressMask),
    /// Hands it to a local socket that is not bound to its address.
    Tproxy(TproxyTarget),
    /// Changes the maximum segment size option of a SYN.
    Tcpmss(TcpmssTarget),
    /// Changes the time to live or hop limit.
    Ttl(TtlTarget),
    /// Changes the type of service.
    Tos(TosTarget),
    /// Sets the differentiated services code point.
    Dscp(u8),
    /// Sets the queueing priority: major and minor class.
    Classify(u16, u16),
    /// Tells sets of the packet.
    Set(SetTarget),
    /// Sends a copy elsewhere.
    Tee {
        /// To this host.
        gateway: IpAddr,
        /// By this device.
        device: Option<String>,
    },
    /// Answers the handshake itself. Its options as words.
    Synproxy(Vec<String>),
    /// Changes ARP fields, and then lets pass or not. Its options as words.
    ArpMangle(Vec<String>),
    /// Does something that changes neither the packet's way nor what later rules see: `LOG`, `NFLOG`,
    /// `TRACE`, `AUDIT`, `CHECKSUM`, `IDLETIMER`, …, with its options as words.
    Plain {
        /// The target.
        name: String,
        /// Its options.
        words: Vec<String>,
    },
    /// A target that is not understood.
    Unknown(Unknown),
}

/// Targets that change neither the packet's way nor what later rules see.
const PLAIN: [&str; 14] = [
    "AUDIT",
    "CHECKSUM",
    "CONNSECMARK",
    "ECN",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFACCT",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "TCPOPTSTRIP",
    "TRACE",
    "ULOG",
];

/// `-j REJECT`, by what the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RejectTarget(pub RejectWith);

/// What `--reject-with` calls its answers (extensions/libipt_REJECT.c, libip6t_REJECT.c).
const REJECTS: [(&str, RejectWith); 14] = [
    ("icmp-net-unreachable", RejectWith::Icmp { kind: 3, code: 0 }),
    ("icmp-host-unreachable", RejectWith::Icmp { kind: 3, code: 1 }),
    ("icmp-proto-unreachable", RejectWith::Icmp { kind: 3, code: 2 }),
    ("icmp-port-unreachable", RejectWith::Icmp { kind: 3, code: 3 }),
    ("icmp-net-prohibited", RejectWith::Icmp { kind: 3, code: 9 }),
    ("icmp-host-prohibited", RejectWith::Icmp { kind: 3, code: 10 }),
    ("icmp-admin-prohibited", RejectWith::Icmp { kind: 3, code: 13 }),
    ("icmp6-no-route", RejectWith::Icmp { kind: 1, code: 0 }),
    ("icmp6-adm-prohibited", RejectWith::Icmp { kind: 1, code: 1 }),
    ("icmp6-addr-unreachable", RejectWith::Icmp { kind: 1, code: 3 }),
    ("icmp6-port-unreachable", RejectWith::Icmp { kind: 1, code: 4 }),
    ("icmp6-policy-fail", RejectWith::Icmp { kind: 1, code: 5 }),
    ("icmp6-reject-route", RejectWith::Icmp { kind: 1, code: 6 }),
    ("tcp-reset", RejectWith::TcpReset),
];

/// `-j NFQUEUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NfqueueTarget {
    /// Which queues.
    pub balance: Balance,
    /// `--queue-bypass`: let pass when no program listens.
    pub bypass: bool,
    /// `--queue-cpu-fanout`: by processor.
    pub fanout: bool,
}

/// Queues of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Balance {
    /// One.
    One(u16),
    /// Spread over several.
    Over(Span<u16>),
}

/// `-j CT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CtTarget {
    /// `--notrack`.
    pub notrack: bool,
    /// `--helper`.
    pub helper: Option<String>,
    /// `--timeout`: the name of a policy.
    pub timeout: Option<String>,
    /// `--zone`, `--zone-orig` or `--zone-reply`, and its value; `mark` takes the packet mark.
    pub zone: Option<(String, String)>,
    /// `--ctevents` and `--expevents` with their values.
    pub events: Vec<(String, String)>,
}

/// `-j TPROXY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TproxyTarget {
    /// `--on-port`; 0 means the packet's own.
    pub port: u16,
    /// `--on-ip`; an unspecified address means the input device's.
    pub address: Option<IpAddr>,
    /// `--tproxy-mark`.
    pub mark: Masked,
}

/// `-j TCPMSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpmssTarget {
    /// To this value.
    Set(u16),
    /// To what the path carries.
    Clamp,
}

/// `-j TTL` and `-j HL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TtlTarget {
    /// Is it IPv6's hop limit?
    pub is_v6: bool,
    /// `set`, `inc` or `dec`.
    pub operation: &'static str,
    /// To or by this.
    pub value: u8,
}

/// `-j TOS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TosTarget {
    /// The bits to flip after the mask.
    pub value: u8,
    /// The bits to clear.
    pub mask: u8,
}

impl Target {
    /// Reads the options of the target `name`, which come next.
    pub(crate) fn read(name: &str, words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        Ok(match name {
            "ACCEPT" => Self::Accept,
            "DROP" => Self::Drop,
            "RETURN" => Self::Return,
            "QUEUE" => {
                Self::Nfqueue(NfqueueTarget { balance: Balance::One(0), bypass: false, fanout: false })
            }
            "REJECT" => Self::Reject(read_reject(words)?),
            "NFQUEUE" => Self::Nfqueue(read_nfqueue(words)?),
            "MARK" => Self::Mark(MarkTarget::read(words)?),
            "CONNMARK" => Self::Connmark(ConnmarkTarget::read(words)?),
            "CT" => Self::Ct(read_ct(words)?),
            "NOTRACK" => Self::Notrack,
            "SNAT" | "DNAT" | "MASQUERADE" | "REDIRECT" => Self::Nat(NatTarget::read(name, words)?),
            "NETMAP" => Self::Netmap(read_value(words, "--to", "NETWORK/LENGTH")?),
            "TPROXY" => Self::Tproxy(read_tproxy(words)?),
            "TCPMSS" => Self::Tcpmss(read_tcpmss(words)?),
            "TTL" | "HL" => Self::Ttl(read_ttl(name, words)?),
            "TOS" => {
                let (value, mask) = read_with(words, "--set-tos", "VALUE/MASK", header::tos)?;
                Self::Tos(TosTarget { value, mask })
            }
            "DSCP" => Self::Dscp(read_with(words, "--set-dscp", "a number below 64", |text| {
                u8::try_from(crate::iptables::words::number(text)?).ok().filter(|it| *it < 64)
            })?),
            "CLASSIFY" => {
                let (major, minor) = read_with(words, "--set-class", "MAJOR:MINOR", |text| {
                    let (major, minor) = text.split_once(':')?;
                    let half = |text| u16::from_str_radix(text, 16).ok();
                    Some((half(major)?, half(minor)?))
                })?;
                Self::Classify(major, minor)
            }
            "SET" => Self::Set(SetTarget::read(words)?),
            "TEE" => read_tee(words)?,
            "SYNPROXY" => Self::Synproxy(rest(words)),
            "mangle" => Self::ArpMangle(rest(words)),
            plain if PLAIN.contains(&plain) => Self::Plain { name: plain.to_owned(), words: rest(words) },
            // A chain's name, unless options follow: chains have none.
            chain if words.peek().is_none() => Self::Jump(chain.to_owned()),
            _ => return Err(words.unexpected("a chain or a target that is known")),
        })
    }

    /// Appends the target as iptables-save writes it, with a space before.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Accept => out.push_str(" -j ACCEPT"),
            Self::Drop => out.push_str(" -j DROP"),
            Self::Return => out.push_str(" -j RETURN"),
            Self::Jump(chain) => put!(out, " -j {chain}"),
            Self::Goto(chain) => put!(out, " -g {chain}"),
            Self::Reject(it) => {
                out.push_str(" -j REJECT");
                if let Some((name, _)) = REJECTS.iter().find(|(_, with)| *with == it.0) {
                    put!(out, " --reject-with {name}");
                }
            }
            Self::Nfqueue(it) => write_nfqueue(*it, out),
            Self::Mark(it) => it.write(out),
            Self::Connmark(it) => it.write(out),
            Self::Ct(it) => write_ct(it, out),
            Self::Notrack => out.push_str(" -j NOTRACK"),
            Self::Nat(it) => it.write(out),
            Self::Netmap(to) => put!(out, " -j NETMAP --to {to}"),
            Self::Tproxy(it) => {
                put!(out, " -j TPROXY --on-port {}", it.port);
                if let Some(address) = it.address {
                    put!(out, " --on-ip {address}");
                }
                put!(out, " --tproxy-mark {:#x}/{:#x}", it.mark.value, it.mark.mask);
            }
            Self::Tcpmss(TcpmssTarget::Set(value)) => put!(out, " -j TCPMSS --set-mss {value}"),
            Self::Tcpmss(TcpmssTarget::Clamp) => out.push_str(" -j TCPMSS --clamp-mss-to-pmtu"),
            Self::Ttl(it) => {
                let (name, option) = if it.is_v6 { ("HL", "hl") } else { ("TTL", "ttl") };
                put!(out, " -j {name} --{option}-{} {}", it.operation, it.value);
            }
            Self::Tos(it) => put!(out, " -j TOS --set-tos {:#04x}/{:#04x}", it.value, it.mask),
            Self::Dscp(value) => put!(out, " -j DSCP --set-dscp {value:#04x}"),
            Self::Classify(major, minor) => put!(out, " -j CLASSIFY --set-class {major:04x}:{minor:04x}"),
            Self::Set(it) => it.write(out),
            Self::Tee { gateway, device } => {
                put!(out, " -j TEE --gateway {gateway}");
                if let Some(device) = device {
                    put!(out, " --oif {device}");
                }
            }
            Self::Synproxy(words) => write_plain("SYNPROXY", words, out),
            Self::ArpMangle(words) => write_plain("mangle", words, out),
            Self::Plain { name, words } => write_plain(name, words, out),
            Self::Unknown(it) => it.write(out, "-j"),
        }
    }
}

fn write_plain(name: &str, words: &[String], out: &mut String) {
    Unknown { name: name.to_owned(), words: words.to_vec() }.write(out, "-j");
}

fn rest(words: &mut Words<'_, '_>) -> Vec<String> {
    Unknown::read("", words).words
}

/// The value of the one option of a target.
fn read_with<'w, T>(
    words: &mut Words<'w, '_>,
    option: &str,
    expected: &str,
    read: impl FnOnce(&'w str) -> Option<T>,
) -> Result<T, Problem> {
    match words.option() {
        Some((false, found)) if found == option => words.parse(expected, read),
        _ => Err(words.unexpected(&format!("`{option}`"))),
    }
}

fn read_value<T: std::str::FromStr>(
    words: &mut Words<'_, '_>,
    option: &str,
    expected: &str,
) -> Result<T, Problem> {
    read_with(words, option, expected, |text| text.parse().ok())
}

fn read_reject(words: &mut Words<'_, '_>) -> Result<RejectTarget, Problem> {
    read_with(words, "--reject-with", "an answer that REJECT knows", |text| {
        REJECTS.iter().find(|(name, _)| *name == text).map(|(_, with)| RejectTarget(*with))
    })
}

fn read_nfqueue(words: &mut Words<'_, '_>) -> Result<NfqueueTarget, Problem> {
    let mut all = NfqueueTarget { balance: Balance::One(0), bypass: false, fanout: false };
    while let Some((not, option)) = words.option() {
        match (option, not) {
            ("--queue-num", false) => all.balance = Balance::One(words.number("a queue's number")?),
            ("--queue-balance", false) => {
                all.balance = Balance::Over(words.parse("FROM:TO", |it| span(it, ':'))?);
            }
            ("--queue-bypass", false) => all.bypass = true,
            ("--queue-cpu-fanout", false) => all.fanout = true,
            _ => return Err(words.unexpected("an option of `-j NFQUEUE`")),
        }
    }
    Ok(all)
}

fn write_nfqueue(it: NfqueueTarget, out: &mut String) {
    match it.balance {
        Balance::One(number) => put!(out, " -j NFQUEUE --queue-num {number}"),
        Balance::Over(Span { low, high }) => put!(out, " -j NFQUEUE --queue-balance {low}:{high}"),
    }
    if it.bypass {
        out.push_str(" --queue-bypass");
    }
    if it.fanout {
        out.push_str(" --queue-cpu-fanout");
    }
}

fn read_ct(words: &mut Words<'_, '_>) -> Result<CtTarget, Problem> {
    let mut all = CtTarget::default();
    while let Some((not, option)) = words.option() {
        match (option, not) {
            ("--notrack", false) => all.notrack = true,
            ("--helper", false) => all.helper = Some(words.argument("a helper")?.to_owned()),
            ("--timeout", false) => all.timeout = Some(words.argument("a timeout policy")?.to_owned()),
            ("--zone" | "--zone-orig" | "--zone-reply", false) => {
                let value = words.argument("a zone's number or `mark`")?.to_owned();
                all.zone = Some((option.to_owned(), value));
            }
            ("--ctevents" | "--expevents", false) => {
                all.events.push((option.to_owned(), words.argument("events")?.to_owned()));
            }
            _ => return Err(words.unexpected("an option of `-j CT`")),
        }
    }
    Ok(all)
}

fn write_ct(it: &CtTarget, out: &mut String) {
    out.push_str(" -j CT");
    if it.notrack {
        out.push_str(" --notrack");
    }
    if let Some(helper) = &it.helper {
        put!(out, " --helper {helper}");
    }
    if let Some(timeout) = &it.timeout {
        put!(out, " --timeout {timeout}");
    }
    for (option, value) in it.events.iter().chain(&it.zone) {
        put!(out, " {option} {value}");
    }
}

fn read_tproxy(words: &mut Words<'_, '_>) -> Result<TproxyTarget, Problem> {
    let mut all = TproxyTarget { port: 0, address: None, mark: Masked { value: 0, mask: 0 } };
    while let Some((not, option)) = words.option() {
        match (option, not) {
            ("--on-port", false) => all.port = words.number("a port")?,
            ("--on-ip", false) => all.address = Some(words.value("an address")?),
            ("--tproxy-mark", false) => {
                let (value, mask) = words.parse("VALUE[/MASK]", masked)?;
                all.mark = Masked { value, mask: mask.unwrap_or(u32::MAX) };
            }
            _ => return Err(words.unexpected("an option of `-j TPROXY`")),
        }
    }
    Ok(all)
}

fn read_tcpmss(words: &mut Words<'_, '_>) -> Result<TcpmssTarget, Problem> {
    match words.option() {
        Some((false, "--set-mss")) => Ok(TcpmssTarget::Set(words.number("a segment size")?)),
        Some((false, "--clamp-mss-to-pmtu")) => Ok(TcpmssTarget::Clamp),
        _ => Err(words.unexpected("`--set-mss` or `--clamp-mss-to-pmtu`")),
    }
}

fn read_ttl(name: &str, words: &mut Words<'_, '_>) -> Result<TtlTarget, Problem> {
    let is_v6 = name == "HL";
    let expected = "`-set`, `-inc` or `-dec` of the target";
    let (not, option) = words.option().ok_or_else(|| words.unexpected(expected))?;
    let prefix = if is_v6 { "--hl-" } else { "--ttl-" };
    let operation = ["set", "inc", "dec"]
        .into_iter()
        .find(|it| !not && option.strip_prefix(prefix) == Some(it))
        .ok_or_else(|| words.unexpected(expected))?;
    Ok(TtlTarget { is_v6, operation, value: words.number("a number below 256")? })
}

fn read_tee(words: &mut Words<'_, '_>) -> Result<Target, Problem> {
    let (mut gateway, mut device) = (None, None);
    while let Some((not, option)) = words.option() {
        match (option, not) {
            ("--gateway", false) => gateway = Some(words.value("an address")?),
            ("--oif", false) => device = Some(words.argument("a device")?.to_owned()),
            _ => return Err(words.unexpected("an option of `-j TEE`")),
        }
    }
    let gateway = gateway.ok_or_else(|| words.unexpected("`--gateway`"))?;
    Ok(Target::Tee { gateway, device })
}
