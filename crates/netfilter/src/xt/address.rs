//! Matches on addresses beyond `-s` and `-d`: `addrtype`, `iprange`.
//!
//! Kernel: net/netfilter/xt_addrtype.c, xt_iprange.c.

use std::net::IpAddr;

use bitflags::bitflags;
use hopwise_snapshot::{Observed, RouteKind};

use super::{Span, Test};
use crate::{
    iptables::words::Words, put, remark::Problem, scene::Scene, surroundings::Surroundings, ternary::Ternary,
};

bitflags! {
    /// Kinds of addresses, numbered as the kernel numbers them (`RTN_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AddressTypes: u16 {
        /// None at all.
        const UNSPEC = 1;
        /// One host's.
        const UNICAST = 1 << 1;
        /// This host's.
        const LOCAL = 1 << 2;
        /// Every host's on a link.
        const BROADCAST = 1 << 3;
        /// Any of several hosts'.
        const ANYCAST = 1 << 4;
        /// A group's.
        const MULTICAST = 1 << 5;
        /// Dropped by routing.
        const BLACKHOLE = 1 << 6;
        /// Refused by routing.
        const UNREACHABLE = 1 << 7;
        /// Forbidden by routing.
        const PROHIBIT = 1 << 8;
        /// Left to the next table.
        const THROW = 1 << 9;
        /// Translated by routing; no kernel does that any more.
        const NAT = 1 << 10;
        /// Resolved elsewhere; no kernel does that.
        const XRESOLVE = 1 << 11;
    }
}

impl AddressTypes {
    /// The bit of a kind of route.
    pub(crate) fn of(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::UNICAST,
            RouteKind::Local => Self::LOCAL,
            RouteKind::Broadcast => Self::BROADCAST,
            RouteKind::Anycast => Self::ANYCAST,
            RouteKind::Multicast => Self::MULTICAST,
            RouteKind::Blackhole => Self::BLACKHOLE,
            RouteKind::Unreachable => Self::UNREACHABLE,
            RouteKind::Prohibit => Self::PROHIBIT,
            RouteKind::Throw => Self::THROW,
            RouteKind::Other(number) => {
                Self::from_bits_truncate(1u16.checked_shl(number.into()).unwrap_or(0))
            }
        }
    }

    fn read(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::empty(), |all, word| Some(all | Self::from_name(word)?))
    }

    fn text(self) -> String {
        self.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(",")
    }
}

/// `-m addrtype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addrtype {
    /// `--src-type`.
    pub source: Option<Test<AddressTypes>>,
    /// `--dst-type`.
    pub destination: Option<Test<AddressTypes>>,
    /// `--limit-iface-in`: only as far as the input device is concerned.
    pub limit_input: bool,
    /// `--limit-iface-out`: only as far as the output device is concerned.
    pub limit_output: bool,
}

impl Addrtype {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--src-type" => {
                    all.source = Some(Test { not, value: words.parse("address types", AddressTypes::read)? });
                }
                "--dst-type" => {
                    let value = words.parse("address types", AddressTypes::read)?;
                    all.destination = Some(Test { not, value });
                }
                "--limit-iface-in" if !not => all.limit_input = true,
                "--limit-iface-out" if !not => all.limit_output = true,
                _ => return Err(words.unexpected("an option of `-m addrtype`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(" -m addrtype");
        if let Some(test) = &self.source {
            test.write_option(out, "--src-type", test.value.text());
        }
        if let Some(test) = &self.destination {
            test.write_option(out, "--dst-type", test.value.text());
        }
        if self.limit_input {
            out.push_str(" --limit-iface-in");
        }
        if self.limit_output {
            out.push_str(" --limit-iface-out");
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(header) = scene.view.header() else { return Ternary::No };
        let device = match (self.limit_input, self.limit_output) {
            (true, _) => scene.view.input.as_ref(),
            (false, true) => scene.view.output.as_ref(),
            (false, false) => None,
        };
        let limit = device.map(|it| it.name);
        let holds = |test: &Option<Test<AddressTypes>>, address| match test {
            Some(test) => is_of(address, test.value, limit, scene.around).not_if(test.not),
            None => Ternary::Yes,
        };
        holds(&self.source, header.source).and(|| holds(&self.destination, header.destination))
    }
}

/// Is `address` of one of these types?
fn is_of(address: IpAddr, types: AddressTypes, limit: Option<&str>, around: &dyn Surroundings) -> Ternary {
    match address {
        IpAddr::V4(_) => match kind_of(address, limit, around) {
            Observed::Known(kind) => types.contains(AddressTypes::of(kind)).into(),
            Observed::Absent => types.contains(AddressTypes::UNICAST).into(),
            Observed::NotCollected(reason) => not_known(&reason),
        },
        IpAddr::V6(address6) => {
            // Each type that the address has by itself is demanded; only the rest asks routing
            // (`match_type6`).
            let is_group = address6.is_multicast();
            let lacks = |wanted, has: bool| types.contains(wanted) && !has;
            if lacks(AddressTypes::MULTICAST, is_group)
                || lacks(AddressTypes::UNICAST, !is_group && !address6.is_unspecified())
                || lacks(AddressTypes::UNSPEC, address6.is_unspecified())
            {
                return Ternary::No;
            }
            let routed = AddressTypes::LOCAL | AddressTypes::ANYCAST | AddressTypes::UNREACHABLE;
            if !types.intersects(routed) {
                return Ternary::Yes;
            }
            match around.address_kind(address, limit) {
                Observed::Known(RouteKind::Blackhole | RouteKind::Prohibit | RouteKind::Throw)
                | Observed::Absent => types.contains(AddressTypes::UNREACHABLE).into(),
                Observed::Known(kind) => types.intersects(AddressTypes::of(kind) & routed).into(),
                Observed::NotCollected(reason) => not_known(&reason),
            }
        }
    }
}

/// The kind of an IPv4 address; those that are what they are by their number need no routing table
/// (`__inet_dev_addr_type`, net/ipv4/fib_frontend.c).
pub(crate) fn kind_of(
    address: IpAddr,
    limit: Option<&str>,
    around: &dyn Surroundings,
) -> Observed<RouteKind> {
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.is_broadcast() => Observed::Known(RouteKind::Broadcast),
        IpAddr::V4(v4) if v4.is_multicast() => Observed::Known(RouteKind::Multicast),
        _ => around.address_kind(address, limit),
    }
}

fn not_known(reason: &hopwise_snapshot::Reason) -> Ternary {
    Ternary::unknown(format!("the type of an address: {reason}"))
}

/// `-m iprange`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iprange {
    /// `--src-range`.
    pub source: Option<Test<Span<IpAddr>>>,
    /// `--dst-range`.
    pub destination: Option<Test<Span<IpAddr>>>,
}

impl Iprange {
    pub(super) fn read(words: &mut Words<'_, '_>) -> Result<Self, Problem> {
        let range = |text: &str| {
            let (low, high) = text.split_once('-')?;
            let (low, high): (IpAddr, IpAddr) = (low.parse().ok()?, high.parse().ok()?);
            (low.is_ipv4() == high.is_ipv4()).then_some(Span { low, high })
        };
        let mut all = Self::default();
        while let Some((not, option)) = words.option() {
            match option {
                "--src-range" => {
                    all.source = Some(Test { not, value: words.parse("ADDRESS-ADDRESS", range)? });
                }
                "--dst-range" => {
                    all.destination = Some(Test { not, value: words.parse("ADDRESS-ADDRESS", range)? });
                }
                _ => return Err(words.unexpected("an option of `-m iprange`")),
            }
        }
        Ok(all)
    }

    pub(super) fn write(&self, out: &mut String) {
        put!(out, " -m iprange");
        for (option, test) in [("--src-range", &self.source), ("--dst-range", &self.destination)] {
            if let Some(test) = test {
                test.write_option(out, option, format_args!("{}-{}", test.value.low, test.value.high));
            }
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Some(header) = scene.view.header() else { return Ternary::No };
        let holds = |test: &Option<Test<Span<IpAddr>>>, address: IpAddr| {
            test.is_none_or(|it| it.value.contains(address) != it.not)
        };
        (holds(&self.source, header.source) && holds(&self.destination, header.destination)).into()
    }
}
