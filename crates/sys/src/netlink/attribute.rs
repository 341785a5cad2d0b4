//! Netlink attributes: type, length, value, aligned to four bytes.

use std::net::IpAddr;

use netlink_packet_core::{NLA_TYPE_MASK, NlasIterator, parse_ip, parse_string};

use super::NetlinkError;

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number, without the bits for nesting and byte order.
    pub kind: u16,
    /// Its value, without padding.
    pub value: &'a [u8],
}

/// The attributes in `bytes`. Ends after the first that is cut short, with an error.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, NetlinkError>> {
    NlasIterator::new(bytes).map(|nla| {
        let nla = nla.map_err(NetlinkError::malformed)?;
        let (kind, length) = (nla.kind() & NLA_TYPE_MASK, usize::from(nla.length()));
        Ok(Attribute { kind, value: &nla.into_inner()[4..length] })
    })
}

impl<'a> Attribute<'a> {
    /// One byte.
    pub fn u8(&self) -> Result<u8, NetlinkError> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    /// A number of the machine's byte order.
    pub fn u16(&self) -> Result<u16, NetlinkError> {
        self.bytes().map(u16::from_ne_bytes)
    }

    /// A number of network byte order.
    pub fn be16(&self) -> Result<u16, NetlinkError> {
        self.bytes().map(u16::from_be_bytes)
    }

    /// A number of the machine's byte order.
    pub fn u32(&self) -> Result<u32, NetlinkError> {
        self.bytes().map(u32::from_ne_bytes)
    }

    /// A number of the machine's byte order.
    pub fn u64(&self) -> Result<u64, NetlinkError> {
        self.bytes().map(u64::from_ne_bytes)
    }

    /// A text without its final zero byte.
    pub fn text(&self) -> Result<String, NetlinkError> {
        parse_string(self.value).map_err(|_| self.unexpected("a text"))
    }

    /// An address of the family that its length tells.
    pub fn ip(&self) -> Result<IpAddr, NetlinkError> {
        parse_ip(self.value).map_err(|_| self.unexpected("an IP address"))
    }

    /// The attributes inside.
    pub fn nested(&self) -> impl Iterator<Item = Result<Attribute<'a>, NetlinkError>> + use<'a> {
        attributes(self.value)
    }

    /// The first `N` bytes. Longer values are taken: kernels append to what they send.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NetlinkError> {
        match self.value.first_chunk() {
            Some(bytes) => Ok(*bytes),
            None => Err(self.unexpected(&format!("{N} bytes"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> NetlinkError {
        let (kind, length) = (self.kind, self.value.len());
        NetlinkError::malformed(format_args!("attribute {kind} has {length} bytes, expected {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_and_nesting_bits_are_no_part_of_the_value() {
        let bytes = [
            6, 0, 3, 0, b'l', b'o', 0,
            0, // IFLA_IFNAME, one byte of value beyond a zero would be padding
            8, 0, 0x12, 0x80, 4, 0, 1, 0, // a nested attribute that holds an empty one
        ];
        let all: Vec<_> = attributes(&bytes).map(Result::unwrap).collect();
        assert_eq!(all[0], Attribute { kind: 3, value: b"lo" });
        assert_eq!(all[1].kind, 0x12);
        assert_eq!(all[1].nested().next().unwrap().unwrap(), Attribute { kind: 1, value: &[] });
    }

    #[test]
    fn a_short_value_names_its_attribute() {
        let error = Attribute { kind: 4, value: &[1, 2] }.u32().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the answer was not understood: attribute 4 has 2 bytes, expected 4 bytes"
        );
    }

    #[test]
    fn a_value_that_newer_kernels_made_longer_is_read() {
        assert_eq!(Attribute { kind: 1, value: &[1, 0, 0, 0, 9, 9] }.u32().unwrap(), 1u32.to_le());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for attribute in attributes(&bytes).take(100).flatten() {
                let _ = (attribute.u8(), attribute.be16(), attribute.u64(), attribute.text(), attribute.ip());
                prop_assert!(attribute.nested().take(101).count() < 101);
            }
        }
    }
}
