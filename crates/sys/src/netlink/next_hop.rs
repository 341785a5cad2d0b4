//! Next hop objects (`RTM_NEWNEXTHOP`, `include/uapi/linux/nexthop.h`).

use std::net::IpAddr;

use super::{NetlinkError, attributes};

pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// A next hop object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// Its number.
    pub id: u32,
    /// `RTNH_F_*`.
    pub flags: u32,
    /// The interface to leave by.
    pub link: Option<u32>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The members of a group: number and weight, counted from 1.
    pub group: Vec<(u32, u16)>,
    /// Does it drop what is sent to it?
    pub is_blackhole: bool,
}

impl NextHop {
    /// Decodes `struct nhmsg` (8 bytes) and the attributes that follow.
    pub(super) fn decode(body: &[u8]) -> Result<Self, NetlinkError> {
        let Some((header, rest)) = body.split_first_chunk::<8>() else {
            return Err(NetlinkError::malformed(format_args!("next hop of {} bytes", body.len())));
        };
        let [_, _, _, _, a, b, c, d] = *header;
        let mut hop = Self { flags: u32::from_ne_bytes([a, b, c, d]), ..Self::default() };
        for attribute in attributes(rest) {
            let attribute = attribute?;
            match attribute.kind {
                NHA_ID => hop.id = attribute.u32()?,
                NHA_OIF => hop.link = Some(attribute.u32()?),
                NHA_GATEWAY => hop.gateway = Some(attribute.ip()?),
                NHA_BLACKHOLE => hop.is_blackhole = true,
                NHA_GROUP => hop.group = group(attribute.value),
                _ => {}
            }
        }
        Ok(hop)
    }
}

/// Decodes `struct nexthop_grp`: number, weight - 1 with its high byte (6.12) behind it.
fn group(value: &[u8]) -> Vec<(u32, u16)> {
    let (entries, _) = value.as_chunks::<8>();
    let member = |entry: &[u8; 8]| {
        let [a, b, c, d, low, high, _, _] = *entry;
        (u32::from_ne_bytes([a, b, c, d]), u16::from_le_bytes([low, high]).saturating_add(1))
    };
    entries.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn captured_objects_are_read() {
        // `ip nexthop add id 1 via 10.0.0.2 dev v0`
        let body = [
            2, 0xfd, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 1, 0, 0, 0, 8, 0, 5, 0, 3, 0, 0, 0, 8, 0, 6, 0, 10, 0, 0,
            2,
        ];
        let wanted = NextHop { id: 1, link: Some(3), gateway: "10.0.0.2".parse().ok(), ..NextHop::default() };
        assert_eq!(NextHop::decode(&body).unwrap(), wanted);
        // `ip nexthop add id 3 blackhole`
        let body = [2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0, 4, 0, 4, 0];
        let wanted = NextHop { id: 3, is_blackhole: true, ..NextHop::default() };
        assert_eq!(NextHop::decode(&body).unwrap(), wanted);
        // `ip nexthop add id 10 group 1,7/2,200`
        let body = [
            0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 0, 6, 0, 3, 0, 0, 0, 0, 0, 0x14, 0, 2, 0, 1, 0, 0,
            0, 6, 0, 0, 0, 2, 0, 0, 0, 0xc7, 0, 0, 0, 8, 0, 0x0e, 0, 0, 0, 0, 0x80,
        ];
        let wanted = NextHop { id: 10, group: vec![(1, 7), (2, 200)], ..NextHop::default() };
        assert_eq!(NextHop::decode(&body).unwrap(), wanted);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = NextHop::decode(&body);
        }
    }
}
