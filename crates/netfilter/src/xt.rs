//! Conditions and targets of iptables (the `xtables` modules).
//!
//! One file holds what belongs together: how the words are read and written, and what the kernel's module
//! does with a packet.

mod address;
mod arp;
mod conntrack;
mod header;
mod interface;
mod kernel;
mod opaque;
mod payload;
mod ports;
mod quantity;
mod set;
mod target;
#[cfg(test)]
mod tests;
mod types;

use crate::{
    Surroundings, iptables::words::Words, remark::Problem, rule_ref::RuleRef, run::Answer, scene::Scene,
    ternary::Ternary,
};

pub(crate) use address::kind_of as address_kind;
pub use address::{AddressTypes, Addrtype, Iprange};
pub use arp::{ArpMatch, MacMask};
pub use conntrack::{Connmark, Conntrack, Endpoint, State, States, Statuses};
pub use header::{Comparison, Dscp, Ecn, Frag, Icmp, Length, Mac, Pkttype, Tos, Ttl};
pub use interface::{Devgroup, InterfacePattern, Physdev};
pub use kernel::{Cgroup, Owner, PolicyMatch, Realm, Rpfilter, Socket};
pub use opaque::{Opaque, Unknown};
pub use payload::{StringMatch, U32, U32Location, U32Step, U32Test};
pub use ports::{Multiport, PortSide, Sctp, Tcp, Udp};
pub use quantity::{Mark, Statistic};
pub use set::{SetDirection, SetMatch};
pub use target::{
    Balance, ConnmarkTarget, CtTarget, MarkTarget, NatTarget, NfqueueTarget, RejectTarget, SetTarget, Target,
    TcpmssTarget, TosTarget, TproxyTarget, TtlTarget,
};
pub(crate) use target::{map_address, takes_handshake};
pub use types::{AddressMask, Masked, Span, Test};

/// A condition of an iptables rule.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Match {
    /// `-s`.
    Source(Test<AddressMask>),
    /// `-d`.
    Destination(Test<AddressMask>),
    /// `-i`.
    Input(Test<InterfacePattern>),
    /// `-o`.
    Output(Test<InterfacePattern>),
    /// `-p`, by number; 0 means all.
    Protocol(Test<u8>),
    /// `-f`: later fragments.
    Fragment(Test<()>),
    /// `-m tcp`.
    Tcp(Tcp),
    /// `-m udp`.
    Udp(Udp),
    /// `-m sctp`.
    Sctp(Sctp),
    /// `-m dccp`, ports only.
    Dccp(Udp),
    /// `-m multiport`.
    Multiport(Multiport),
    /// `-m icmp` and `-m icmp6`.
    Icmp(Icmp),
    /// `-m mark`.
    Mark(Mark),
    /// `-m connmark`.
    Connmark(Connmark),
    /// `-m conntrack`.
    Conntrack(Box<Conntrack>),
    /// `-m state`.
    State(State),
    /// `-m addrtype`.
    Addrtype(Addrtype),
    /// `-m iprange`.
    Iprange(Iprange),
    /// `-m comment`. Always holds.
    Comment(String),
    /// `-m nfacct`: counts, always holds.
    Nfacct(String),
    /// `-m set`.
    Set(SetMatch),
    /// `-m statistic`.
    Statistic(Statistic),
    /// `-m physdev`.
    Physdev(Physdev),
    /// `-m devgroup`.
    Devgroup(Devgroup),
    /// `-m rpfilter`.
    Rpfilter(Rpfilter),
    /// `-m mac`.
    Mac(Mac),
    /// `-m pkttype`.
    Pkttype(Pkttype),
    /// `-m owner`.
    Owner(Owner),
    /// `-m cgroup`.
    Cgroup(Cgroup),
    /// `-m socket`.
    Socket(Socket),
    /// `-m policy`.
    Policy(PolicyMatch),
    /// `-m realm`.
    Realm(Realm),
    /// `-m length`.
    Length(Length),
    /// `-m ttl` and `-m hl`.
    Ttl(Ttl),
    /// `-m tos`.
    Tos(Tos),
    /// `-m dscp`.
    Dscp(Dscp),
    /// `-m ecn`.
    Ecn(Ecn),
    /// `-m frag` (IPv6).
    Frag(Frag),
    /// `-m tcpmss`: the maximum segment size option.
    Tcpmss(Test<Span<u16>>),
    /// `-m helper`; an empty name means any.
    Helper(Test<String>),
    /// `-m string`.
    String(StringMatch),
    /// `-m u32`.
    U32(U32),
    /// A condition of arptables.
    Arp(ArpMatch),
    /// A module whose answer depends on history, on the clock, or on what a snapshot does not hold.
    Opaque(Opaque),
    /// A module, or options, that are not understood.
    Unknown(Unknown),
}

impl Match {
    /// Reads the options of the module `name`, which come next.
    ///
    /// [`None`] where the module is not known.
    pub(crate) fn read(name: &str, words: &mut Words<'_, '_>) -> Option<Result<Self, Problem>> {
        let read = match name {
            "tcp" => Tcp::read(words).map(Self::Tcp),
            "udp" => Udp::read(words, "udp").map(Self::Udp),
            "sctp" => Sctp::read(words).map(Self::Sctp),
            "dccp" => Ok(ports::read_dccp(words)),
            "multiport" => Multiport::read(words).map(Self::Multiport),
            "icmp" => Icmp::read(words, false).map(Self::Icmp),
            "icmp6" => Icmp::read(words, true).map(Self::Icmp),
            "mark" => Mark::read(words).map(Self::Mark),
            "connmark" => Connmark::read(words).map(Self::Connmark),
            "conntrack" => Conntrack::read(words).map(|it| Self::Conntrack(Box::new(it))),
            "state" => State::read(words).map(Self::State),
            "addrtype" => Addrtype::read(words).map(Self::Addrtype),
            "iprange" => Iprange::read(words).map(Self::Iprange),
            "comment" => quantity::read_text(words, "--comment", "a comment").map(Self::Comment),
            "nfacct" => {
                quantity::read_text(words, "--nfacct-name", "the name of a counter").map(Self::Nfacct)
            }
            "set" => SetMatch::read(words).map(Self::Set),
            "statistic" => Statistic::read(words).map(Self::Statistic),
            "physdev" => Physdev::read(words).map(Self::Physdev),
            "devgroup" => Devgroup::read(words).map(Self::Devgroup),
            "rpfilter" => Rpfilter::read(words).map(Self::Rpfilter),
            "mac" => Mac::read(words).map(Self::Mac),
            "pkttype" => Pkttype::read(words).map(Self::Pkttype),
            "owner" => Owner::read(words).map(Self::Owner),
            "cgroup" => Cgroup::read(words).map(Self::Cgroup),
            "socket" => Socket::read(words).map(Self::Socket),
            "policy" => PolicyMatch::read(words).map(Self::Policy),
            "realm" => Realm::read(words).map(Self::Realm),
            "length" => Length::read(words).map(Self::Length),
            "ttl" | "hl" => Ttl::read(words, name).map(Self::Ttl),
            "tos" => Tos::read(words).map(Self::Tos),
            "dscp" => Dscp::read(words).map(Self::Dscp),
            "ecn" => Ecn::read(words).map(Self::Ecn),
            "frag" => Frag::read(words).map(Self::Frag),
            "tcpmss" => quantity::read_one(words, "--mss", |it| it.span("MSS or LOW:HIGH")).map(Self::Tcpmss),
            "helper" => {
                quantity::read_one(words, "--helper", |it| it.argument("a helper").map(str::to_owned))
                    .map(Self::Helper)
            }
            "string" => StringMatch::read(words).map(Self::String),
            "u32" => U32::read(words).map(Self::U32),
            other => Opaque::read(other, words)?.map(Self::Opaque),
        };
        Some(read)
    }

    /// Appends the condition as iptables-save writes it, with a space before.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Source(it) => it.write_option(out, "-s", it.value),
            Self::Destination(it) => it.write_option(out, "-d", it.value),
            Self::Input(it) => it.write_option(out, "-i", &it.value),
            Self::Output(it) => it.write_option(out, "-o", &it.value),
            Self::Protocol(it) => it.write_option(out, "-p", crate::names::protocol_text(it.value)),
            Self::Fragment(it) => out.push_str(if it.not { " ! -f" } else { " -f" }),
            Self::Tcp(it) => it.write(out),
            Self::Udp(it) => it.write(out, "udp"),
            Self::Sctp(it) => it.write(out),
            Self::Dccp(it) => it.write(out, "dccp"),
            Self::Multiport(it) => it.write(out),
            Self::Icmp(it) => it.write(out),
            Self::Mark(it) => it.write(out, "mark"),
            Self::Connmark(it) => it.0.write(out, "connmark"),
            Self::Conntrack(it) => it.write(out),
            Self::State(it) => it.write(out),
            Self::Addrtype(it) => it.write(out),
            Self::Iprange(it) => it.write(out),
            Self::Comment(it) => {
                out.push_str(" -m comment --comment");
                crate::iptables::words::push_quoted(out, it);
            }
            Self::Nfacct(it) => {
                // iptables 1.8 writes two spaces here.
                out.push_str(" -m nfacct --nfacct-name ");
                crate::iptables::words::push_quoted(out, it);
            }
            Self::Set(it) => it.write(out),
            Self::Statistic(it) => it.write(out),
            Self::Physdev(it) => it.write(out),
            Self::Devgroup(it) => it.write(out),
            Self::Rpfilter(it) => it.write(out),
            Self::Mac(it) => it.write(out),
            Self::Pkttype(it) => it.write(out),
            Self::Owner(it) => it.write(out),
            Self::Cgroup(it) => it.write(out),
            Self::Socket(it) => it.write(out),
            Self::Policy(it) => it.write(out),
            Self::Realm(it) => it.write(out),
            Self::Length(it) => it.write(out),
            Self::Ttl(it) => it.write(out),
            Self::Tos(it) => it.write(out),
            Self::Dscp(it) => it.write(out),
            Self::Ecn(it) => it.write(out),
            Self::Frag(it) => it.write(out),
            Self::Tcpmss(it) => {
                out.push_str(" -m tcpmss");
                it.write_option(out, "--mss", it.value);
            }
            Self::Helper(it) => {
                out.push_str(" -m helper");
                out.push_str(if it.not { " ! --helper" } else { " --helper" });
                crate::iptables::words::push_quoted(out, &it.value);
            }
            Self::String(it) => it.write(out),
            Self::U32(it) => it.write(out),
            Self::Arp(it) => it.write(out),
            Self::Opaque(it) => it.write(out),
            Self::Unknown(it) => it.write(out, "-m"),
        }
    }

    /// Whether the condition holds, as far as chance is not asked.
    pub(crate) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let header = scene.view.header();
        match self {
            Self::Source(it) => it.check(header.is_some_and(|header| it.value.covers(header.source))),
            Self::Destination(it) => {
                it.check(header.is_some_and(|header| it.value.covers(header.destination)))
            }
            Self::Input(it) => {
                it.check(it.value.covers(scene.view.input.as_ref().map_or("", |device| device.name)))
            }
            Self::Output(it) => {
                it.check(it.value.covers(scene.view.output.as_ref().map_or("", |device| device.name)))
            }
            Self::Protocol(it) => {
                it.check(it.value == 0 || header.is_some_and(|header| header.protocol == it.value))
            }
            Self::Fragment(it) => it.check(header.is_some_and(crate::packet::IpHeader::is_later_fragment)),
            Self::Tcp(it) => it.holds(scene),
            Self::Udp(it) | Self::Dccp(it) => it.holds(scene),
            Self::Sctp(it) => it.holds(scene),
            Self::Multiport(it) => it.holds(scene),
            Self::Icmp(it) => it.holds(scene),
            Self::Mark(it) => it.holds(scene.view.mark),
            Self::Connmark(it) => it.holds(scene),
            Self::Conntrack(it) => it.holds(scene),
            Self::State(it) => it.holds(scene),
            Self::Addrtype(it) => it.holds(scene),
            Self::Iprange(it) => it.holds(scene),
            Self::Comment(_) | Self::Nfacct(_) => Ternary::Yes,
            Self::Set(it) => it.holds(scene),
            Self::Statistic(it) => it.certainty(),
            Self::Physdev(it) => it.holds(scene),
            Self::Devgroup(it) => it.holds(scene),
            Self::Rpfilter(it) => it.holds(scene),
            Self::Mac(it) => it.holds(scene),
            Self::Pkttype(it) => it.holds(scene),
            Self::Owner(it) => it.holds(scene),
            Self::Cgroup(it) => it.holds(scene),
            Self::Socket(it) => it.holds(scene),
            Self::Policy(it) => it.holds(scene),
            Self::Realm(it) => it.holds(scene),
            Self::Length(it) => it.holds(scene),
            Self::Ttl(it) => it.holds(scene),
            Self::Tos(it) => it.holds(scene),
            Self::Dscp(it) => it.holds(scene),
            Self::Ecn(it) => it.holds(scene),
            Self::Frag(it) => it.holds(scene),
            Self::Tcpmss(it) => quantity::mss_holds(*it, scene),
            Self::Helper(it) => conntrack::helper_holds(it, scene),
            Self::String(it) => it.holds(scene),
            Self::U32(it) => it.holds(scene),
            Self::Arp(it) => it.holds(scene),
            Self::Opaque(it) => it.holds(),
            Self::Unknown(it) => Ternary::unknown(format!("match `{}` is not understood", it.name)),
        }
    }

    /// Whether the condition holds, or with which probability.
    pub(crate) fn answer(&self, scene: &Scene<'_>) -> Answer {
        match self {
            Self::Statistic(it) => match it.probability() {
                Some(probability) => Answer::Chance(probability),
                None => Answer::Settled(it.certainty()),
            },
            _ => Answer::Settled(self.holds(scene)),
        }
    }

    /// Does the packet have no chance to get past this rule alive, whatever else it says (`hotdrop`)?
    pub(crate) fn drops_hot(&self, scene: &Scene<'_>) -> bool {
        match self {
            Self::Tcp(it) => it.drops_hot(scene),
            _ => false,
        }
    }
}

/// Asks chance whether a condition with probability `p` holds.
pub(crate) fn chance(around: &mut dyn Surroundings, p: f64, rule: RuleRef) -> bool {
    around.choose(&[p, 1.0 - p], rule) == 0
}
