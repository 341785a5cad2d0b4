//! The two address families.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

/// An address family. Every controller here keeps the state of the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family of a range.
    pub fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }

    /// The length of the prefix that holds one address.
    pub fn host_prefix(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The API's name: `IPv4`, `IPv6`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api_name())
    }
}

/// Reads an address as the Kubernetes components do (`netutils.ParseIPSloppy`): leading zeros in IPv4 parts are
/// decimal and ignored, an IPv4 address mapped into IPv6 is the IPv4 address.
pub(crate) fn parse_sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let trimmed: Vec<&str> = text
        .split('.')
        .map(|it| match it.trim_start_matches('0') {
            "" if !it.is_empty() => "0",
            rest => rest,
        })
        .collect();
    trimmed.join(".").parse::<IpAddr>().ok().filter(IpAddr::is_ipv4)
}

/// Reads a range as [`parse_sloppy`] reads an address. Bits behind the prefix are cut off.
pub(crate) fn parse_net_sloppy(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    IpNet::new(parse_sloppy(address)?, length.parse().ok()?).ok().map(|it| it.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them() {
        for (text, read) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("010.000.0.01", Some("10.0.0.1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("fd00::0001", Some("fd00::1")),
            ("10.0.0", None),
            ("10.0.0.256", None),
            ("", None),
        ] {
            assert_eq!(parse_sloppy(text).map(|it| it.to_string()).as_deref(), read, "{text}");
        }
    }

    #[test]
    fn ranges_lose_their_host_bits() {
        assert_eq!(parse_net_sloppy("10.1.2.3/16").map(|it| it.to_string()).as_deref(), Some("10.1.0.0/16"));
        assert_eq!(parse_net_sloppy("10.1.2.3"), None);
        assert_eq!(parse_net_sloppy("10.1.2.3/33"), None);
    }
}
