//! Conditions of arptables (`arp_packet_match`, net/ipv4/netfilter/arp_tables.c).

use std::{fmt, str::FromStr};

use hopwise_snapshot::Mac;

use super::{AddressMask, Test};
use crate::{packet::Network, put, scene::Scene, ternary::Ternary};

/// A condition of an arptables rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpMatch {
    /// `-s`: who speaks.
    SenderIp(Test<AddressMask>),
    /// `-d`: who is asked for.
    TargetIp(Test<AddressMask>),
    /// `--src-mac`.
    SenderMac(Test<MacMask>),
    /// `--dst-mac`.
    TargetMac(Test<MacMask>),
    /// `--opcode`: value and mask.
    Operation(Test<(u16, u16)>),
    /// `--h-length`.
    HardwareLength(Test<u8>),
    /// `--h-type`: value and mask.
    HardwareType(Test<(u16, u16)>),
    /// `--proto-type`: value and mask.
    ProtocolType(Test<(u16, u16)>),
}

/// A station under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacMask {
    /// The station.
    pub mac: Mac,
    /// The bits that count.
    pub mask: Mac,
}

impl MacMask {
    fn covers(&self, mac: Mac) -> bool {
        (0..6).all(|at| mac.0[at] & self.mask.0[at] == self.mac.0[at] & self.mask.0[at])
    }
}

impl FromStr for MacMask {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (mac, mask) = match text.split_once('/') {
            Some((mac, mask)) => (mac, mask.parse().map_err(|_| ())?),
            None => (text, Mac::BROADCAST),
        };
        Ok(Self { mac: mac.parse().map_err(|_| ())?, mask })
    }
}

impl fmt::Display for MacMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mac.fmt(f)?;
        if self.mask == Mac::BROADCAST { Ok(()) } else { write!(f, "/{}", self.mask) }
    }
}

impl ArpMatch {
    pub(super) fn write(&self, out: &mut String) {
        let number = |out: &mut String, test: &Test<(u16, u16)>, option: &str, is_hexadecimal: bool| {
            let not = if test.not { " !" } else { "" };
            let (value, mask) = test.value;
            if is_hexadecimal {
                put!(out, "{not} {option} {value:#x}");
            } else {
                put!(out, "{not} {option} {value}");
            }
            if mask != 0xffff {
                put!(out, "/{mask}");
            }
        };
        let address = |out: &mut String, test: &Test<AddressMask>, option: &str| {
            test.write_option(out, option, super::conntrack::short(&test.value));
        };
        match self {
            Self::SenderIp(it) => address(out, it, "-s"),
            Self::TargetIp(it) => address(out, it, "-d"),
            Self::SenderMac(it) => it.write_option(out, "--src-mac", it.value),
            Self::TargetMac(it) => it.write_option(out, "--dst-mac", it.value),
            Self::Operation(it) => number(out, it, "--opcode", false),
            Self::HardwareLength(it) => it.write_option(out, "--h-length", it.value),
            Self::HardwareType(it) => number(out, it, "--h-type", false),
            Self::ProtocolType(it) => number(out, it, "--proto-type", true),
        }
    }

    pub(super) fn holds(&self, scene: &Scene<'_>) -> Ternary {
        let Network::Arp(arp) = &scene.view.network else { return Ternary::No };
        let is = |test: &Test<(u16, u16)>, value: u16| {
            test.check(value & test.value.1 == test.value.0 & test.value.1)
        };
        match self {
            Self::SenderIp(it) => it.check(it.value.covers(arp.sender_ip.into())),
            Self::TargetIp(it) => it.check(it.value.covers(arp.target_ip.into())),
            Self::SenderMac(it) => it.check(it.value.covers(arp.sender_mac)),
            Self::TargetMac(it) => it.check(it.value.covers(arp.target_mac)),
            Self::Operation(it) => is(it, arp.operation),
            // The view is of ARP for IPv4 over Ethernet.
            Self::HardwareLength(it) => it.check(it.value == 6),
            Self::HardwareType(it) => is(it, 1),
            Self::ProtocolType(it) => is(it, 0x0800),
        }
    }
}
