//! Matches on header fields: `icmp`, `length`, `ttl`, `hl`, `tos`, `dscp`, `ecn`, `mac`, `pkttype`, `frag`.
//!
//! Kernel: net/netfilter/xt_icmp (net/ipv4/netfilter/ip_tables.c before 6.6), xt_length.c, xt_hl.c,
//! xt_dscp.c, xt_ecn.c, xt_mac.c, xt_pkttype.c, net/ipv6/netfilter/ip6t_frag.c.

use super::{Span, Test};
use crate::{
    iptables::words::{Words, number},
    names,
    packet::{PacketType, TcpFlags, Transport},
    put,
    remark::Problem,
    scene::Scene,
    ternary::Ternary,
};

/// `-m icmp` and `-m icmp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Is it ICMPv6?
    pub is_v6: bool,
    /// The type; none means any (ICMP only).
    pub kind: Test<Option<u8>>,
    /// The code; none means any.
    pub code: Option<u8>,
}

impl Icmp {
    pub(super) fn read(words: &mut Words<'_, '_>, is_v6: bool) -> Result<Self, Problem> {
        let option = if is_v6 { "--icmpv6-type" } else { "--icmp-type" };
        // `any` is type 255 to the kernel, whatever the code.
        let kind = |text: &str| match text.split_once('/') {
            _ if text == "any" && !is_v6 => Some((None, None)),
            Some((kind, code)) => {
                let kind = u8::try_from(number(kind)?).ok()?;
                Some((Some(kind), Some(u8::try_from(number(code)?).ok()?)))
            }
            None => match number(text) {
                Some(kind) => Some((Some(u8::try_from(kind).ok()?), None)),
                None => names::icmp_type(text, is_v6).map(|(kind, code)| (Some(kind), code)),
            },
        };
        let test = super::quantity::read_one(words, option, |words| words.parse("TYPE[/CODE]", kind))?;
        Ok(Self { is_v6, kind: Test { not: test.not, value: test.value.0 }, code: test.value.1 })
    }

    pub(super) fn write(self, out: &mut String) {
        let (module, option) = if self.is_v6 { ("icmp6", "--icmpv6-type") } else { ("icmp", "--icmp-type") };
        put!(out, " -m {module}");
        match (self.kind.value, self.code) {
            (None, _) => self.kind.write_option(out, option, "any"),
            (Some(kind), None) => self.kind.write_option(out, option, kind),
            (Some(kind), Some(code)) => self.kind.write_option(out, option, format_args!("{kind}/{code}")),
        }
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        let Transport::Icmp { kind, code, .. } = scene.view.transport else { return Ternary::No };
        let Some(wanted) = self.kind.value.filter(|it| self.is_v6 || *it != u8::MAX) else {
            return self.kind.check(true);
        };
        self.kind.check(kind == wanted && self.code.is_none_or(|it| it == code))
    }
}

/// `-m length`: bytes from the network header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Test<Span<u16>>);

impl Length {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--length", |words| words.span("BYTES or LOW:HIGH")).map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m length");
        self.0.write_option(out, "--length", self.0.value);
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        let Some(header) = scene.view.header() else { return Ternary::No };
        let Span { low, high } = self.0.value;
        let wide = Span { low: u32::from(low), high: u32::from(high) };
        self.0.check(wide.contains(header.total_length))
    }
}

/// `-m ttl` and `-m hl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Is it IPv6's hop limit?
    pub is_v6: bool,
    /// How to compare.
    pub comparison: Comparison,
    /// With what.
    pub value: u8,
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    Unequal,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

impl Comparison {
    pub(crate) fn holds(self, left: u8, right: u8) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::Greater => left > right,
        }
    }
}

impl Ttl {
    pub(super) fn read(words: &mut Words<'_, '_>, module: &str) -> Result<Self, Problem> {
        let expected = "`-eq`, `-lt` or `-gt` of the module";
        let (not, option) = words.option().ok_or_else(|| words.unexpected(expected))?;
        let comparison = match (not, option.strip_prefix("--").and_then(|it| it.strip_prefix(module))) {
            (false, Some("-eq")) => Comparison::Equal,
            (true, Some("-eq")) => Comparison::Unequal,
            (false, Some("-lt")) => Comparison::Less,
            (false, Some("-gt")) => Comparison::Greater,
            _ => return Err(words.unexpected(expected)),
        };
        Ok(Self { is_v6: module == "hl", comparison, value: words.number("a number below 256")? })
    }

    pub(super) fn write(self, out: &mut String) {
        let module = if self.is_v6 { "hl" } else { "ttl" };
        let (not, word) = match self.comparison {
            Comparison::Equal => ("", "eq"),
            Comparison::Unequal => (" !", "eq"),
            Comparison::Less => ("", "lt"),
            Comparison::Greater => ("", "gt"),
        };
        put!(out, " -m {module}{not} --{module}-{word} {}", self.value);
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        scene.view.header().is_some_and(|it| self.comparison.holds(it.ttl, self.value)).into()
    }
}

/// `-m tos`: value and mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tos(pub Test<(u8, u8)>);

impl Tos {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--tos", |words| words.parse("VALUE[/MASK]", tos)).map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m tos");
        let (value, mask) = self.0.value;
        self.0.write_option(out, "--tos", format_args!("{value:#04x}/{mask:#04x}"));
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        let (value, mask) = self.0.value;
        self.0.check(scene.view.header().is_some_and(|it| it.tos & mask == value))
    }
}

/// A value and mask of the type of service.
pub(super) fn tos(text: &str) -> Option<(u8, u8)> {
    let (value, mask) = crate::iptables::words::masked(text)?;
    Some((u8::try_from(value).ok()?, u8::try_from(mask.unwrap_or(0xff)).ok()?))
}

/// `-m dscp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(pub Test<u8>);

impl Dscp {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--dscp", |words| words.number("a number below 64")).map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m dscp");
        self.0.write_option(out, "--dscp", format_args!("{:#04x}", self.0.value));
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        self.0.check(scene.view.header().is_some_and(|it| it.tos >> 2 == self.0.value))
    }
}

/// `-m ecn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ecn {
    /// `--ecn-tcp-ece`, negated or not.
    pub ece: Option<Test<()>>,
    /// `--ecn-tcp-cwr`, negated or not.
    pub cwr: Option<Test<()>>,
    /// `--ecn-ip-ect`: the two lower bits of the type of service.
    pub ect: Option<Test<u8>>,
}

impl Ecn {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--ecn-tcp-ece" => all.ece = Some(Test { not, value: () }),
                "--ecn-tcp-cwr" => all.cwr = Some(Test { not, value: () }),
                "--ecn-ip-ect" => all.ect = Some(Test { not, value: words.number("a number below 4")? }),
                _ => return Err(words.unexpected("an option of `-m ecn`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m ecn");
        for (option, test) in [("--ecn-tcp-ece", &self.ece), ("--ecn-tcp-cwr", &self.cwr)] {
            if let Some(test) = test {
                put!(out, "{} {option}", if test.not { " !" } else { "" });
            }
        }
        if let Some(test) = &self.ect {
            test.write_option(out, "--ecn-ip-ect", test.value);
        }
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        let Some(header) = scene.view.header() else { return Ternary::No };
        let has = |test: Option<Test<()>>, flag| match (test, scene.view.transport) {
            (None, _) => Ternary::Yes,
            (Some(test), Transport::Tcp(tcp)) => test.check(tcp.flags.contains(flag)),
            // Of a later fragment the module takes the bytes for a header.
            (Some(_), _) => Ternary::unknown(super::ports::FRAGMENT),
        };
        let ect = self.ect.is_none_or(|it| (header.tos & 3 == it.value) != it.not);
        Ternary::from(ect).and(|| has(self.ece, TcpFlags::ECE)).and(|| has(self.cwr, TcpFlags::CWR))
    }
}

/// `-m mac`. Without an Ethernet header it does not hold, negated or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub Test<hopwise_snapshot::Mac>);

impl Mac {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--mac-source", |words| words.value("a MAC address")).map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m mac");
        self.0.write_option(out, "--mac-source", self.0.value);
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        match scene.view.ether {
            Some(ether) => self.0.check(ether.source == self.0.value),
            None => Ternary::No,
        }
    }
}

/// `-m pkttype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pkttype(pub Test<PacketType>);

impl Pkttype {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        super::quantity::read_one(words, "--pkt-type", |words| {
            words.parse("`unicast`, `broadcast`, `multicast` or `otherhost`", |text| match text {
                "unicast" | "host" => Some(PacketType::Host),
                "broadcast" | "bcast" => Some(PacketType::Broadcast),
                "multicast" | "mcast" => Some(PacketType::Multicast),
                "otherhost" => Some(PacketType::OtherHost),
                _ => None,
            })
        })
        .map(Self)
    }

    pub(super) fn write(self, out: &mut String) {
        out.push_str(" -m pkttype");
        let word = match self.0.value {
            PacketType::Host => "unicast",
            PacketType::Broadcast => "broadcast",
            PacketType::Multicast => "multicast",
            PacketType::OtherHost | PacketType::Outgoing => "otherhost",
        };
        self.0.write_option(out, "--pkt-type", word);
    }

    pub(super) fn holds(self, scene: &Scene<'_>) -> Ternary {
        self.0.check(scene.view.packet_type == self.0.value)
    }
}

/// `-m frag`: the IPv6 fragment header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frag {
    /// `--fragid`. Not known.
    pub id: Option<Test<Span<u32>>>,
    /// `--fraglen`. The kernel looks at no length.
    pub length: Option<Test<u32>>,
    /// `--fragres`: reserved bits are clear.
    pub reserved: bool,
    /// `--fragfirst`.
    pub first: bool,
    /// `--fragmore`.
    pub more: bool,
    /// `--fraglast`.
    pub last: bool,
}

impl Frag {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match (option, not) {
                ("--fragid", _) => all.id = Some(Test { not, value: words.span("ID or LOW:HIGH")? }),
                ("--fraglen", _) => all.length = Some(Test { not, value: words.number("bytes")? }),
                ("--fragres", false) => all.reserved = true,
                ("--fragfirst", false) => all.first = true,
                ("--fragmore", false) => all.more = true,
                ("--fraglast", false) => all.last = true,
                _ => return Err(words.unexpected("an option of `-m frag`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m frag");
        if let Some(test) = &self.id {
            test.write_option(out, "--fragid", test.value);
        }
        if let Some(test) = &self.length {
            test.write_option(out, "--fraglen", test.value);
        }
        let flags = [
            (self.reserved, " --fragres"),
            (self.first, " --fragfirst"),
            (self.more, " --fragmore"),
            (self.last, " --fraglast"),
        ];
        for (_, text) in flags.iter().filter(|(is_set, _)| *is_set) {
            out.push_str(text);
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(fragment) = scene.view.header().and_then(|it| it.fragment) else { return Ternary::No };
        let holds = (!self.first || fragment.offset == 0)
            && (!self.more || fragment.more)
            && (!self.last || !fragment.more);
        Ternary::from(holds).and(|| match self.id {
            Some(_) => Ternary::unknown("the identifier of a fragment is not known"),
            None => Ternary::Yes,
        })
    }
}
