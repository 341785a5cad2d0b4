//! The small values that many modules share.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::ternary::Ternary;

/// A value to compare with, possibly after a `!`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Test<T> {
    /// Must the value differ?
    pub not: bool,
    /// The value.
    pub value: T,
}

impl<T> Test<T> {
    /// The packet's value must be (in) `value`.
    pub fn is(value: T) -> Self {
        Self { not: false, value }
    }

    /// The packet's value must not be (in) `value`.
    pub fn is_not(value: T) -> Self {
        Self { not: true, value }
    }

    /// Whether the test passes, given whether the value is as named.
    pub(crate) fn check(&self, is_so: bool) -> Ternary {
        (is_so != self.not).into()
    }

    /// Appends ` [! ]OPTION VALUE`.
    pub(crate) fn write_option(&self, out: &mut String, option: &str, value: impl fmt::Display) {
        use fmt::Write as _;
        let not = if self.not { " !" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(out, "{not} {option} {value}");
    }
}

/// All numbers from `low` to `high`. Empty if `low` is above `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<T> {
    /// The first.
    pub low: T,
    /// The last.
    pub high: T,
}

impl<T: PartialOrd + Copy> Span<T> {
    /// Is `number` in it?
    pub fn contains(&self, number: T) -> bool {
        self.low <= number && number <= self.high
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { self.low.fmt(f) } else { write!(f, "{}:{}", self.low, self.high) }
    }
}

/// A value under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Masked {
    /// The value.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// An address under a mask, which need not be a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressMask {
    /// The address.
    pub address: IpAddr,
    /// The bits that count, as an address of the same family.
    pub mask: IpAddr,
}

impl AddressMask {
    /// Is `address` one of those meant? An address of the other family never is.
    pub fn covers(&self, address: IpAddr) -> bool {
        match (self.address, self.mask, address) {
            (IpAddr::V4(own), IpAddr::V4(mask), IpAddr::V4(other)) => {
                other.to_bits() & mask.to_bits() == own.to_bits() & mask.to_bits()
            }
            (IpAddr::V6(own), IpAddr::V6(mask), IpAddr::V6(other)) => {
                other.to_bits() & mask.to_bits() == own.to_bits() & mask.to_bits()
            }
            _ => false,
        }
    }

    /// The length of the mask, where it is a prefix.
    pub fn prefix_len(&self) -> Option<u8> {
        ipnet::ip_mask_to_prefix(self.mask).ok()
    }

    /// All addresses with the same first `len` bits as `address`.
    pub fn prefix(address: IpAddr, len: u8) -> Option<Self> {
        let mask = match address {
            IpAddr::V4(_) => ipnet::Ipv4Net::new(std::net::Ipv4Addr::UNSPECIFIED, len).ok()?.netmask().into(),
            IpAddr::V6(_) => ipnet::Ipv6Net::new(std::net::Ipv6Addr::UNSPECIFIED, len).ok()?.netmask().into(),
        };
        Some(Self { address, mask })
    }
}

impl FromStr for AddressMask {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let Some(mask) = mask else { return Self::prefix(address, full).ok_or(()) };
        if let Ok(len) = mask.parse::<u8>() {
            return Self::prefix(address, len).ok_or(());
        }
        let mask: IpAddr = mask.parse().map_err(|_| ())?;
        if mask.is_ipv4() == address.is_ipv4() { Ok(Self { address, mask }) } else { Err(()) }
    }
}

impl fmt::Display for AddressMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_len() {
            Some(len) => write!(f, "{}/{len}", self.address),
            None => write!(f, "{}/{}", self.address, self.mask),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_may_have_holes() {
        let odd: AddressMask = "10.0.0.1/255.0.0.255".parse().unwrap();
        assert!(odd.covers("10.9.9.1".parse().unwrap()));
        assert!(!odd.covers("10.9.9.2".parse().unwrap()));
        assert_eq!(odd.to_string(), "10.0.0.1/255.0.0.255");
        let plain: AddressMask = "10.0.0.0/255.0.0.0".parse().unwrap();
        assert_eq!(plain.to_string(), "10.0.0.0/8");
    }

    #[test]
    fn families_do_not_mix() {
        let all: AddressMask = "0.0.0.0/0".parse().unwrap();
        assert!(!all.covers("::1".parse().unwrap()));
        assert!("10.0.0.0/ffff::".parse::<AddressMask>().is_err());
        assert!("10.0.0.0/33".parse::<AddressMask>().is_err());
    }
}
