//! IPsec policies (`NETLINK_XFRM`, `include/uapi/linux/xfrm.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_XFRM;
use nix::libc;

use super::{Attribute, Limits, NetlinkError, Socket, attributes};

const XFRM_MSG_NEWPOLICY: u16 = 19;
const XFRM_MSG_GETPOLICY: u16 = 21;
const XFRMA_TMPL: u16 = 5;
const XFRMA_POLICY_TYPE: u16 = 16;
const XFRMA_MARK: u16 = 21;
const XFRMA_IF_ID: u16 = 31;
/// `sizeof(struct xfrm_user_tmpl)`.
const TEMPLATE: usize = 64;
/// `sizeof(struct xfrm_userpolicy_info)`.
const POLICY: usize = 168;
/// `sizeof(struct xfrm_userpolicy_id)`.
const POLICY_ID: usize = 64;

/// Where a policy applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XfrmDirection {
    /// To what is delivered here.
    In,
    /// To what is sent from here.
    Out,
    /// To what is forwarded.
    Forward,
    /// Another, by its number (`XFRM_POLICY_*`): the per-socket ones among them.
    Other(u8),
}

/// A policy: what matches it is transformed, let through, or blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XfrmPolicy {
    /// Its number.
    pub index: u32,
    /// Where it applies.
    pub direction: XfrmDirection,
    /// The lowest is looked at first.
    pub priority: u32,
    /// Does it block what it matches?
    pub blocks: bool,
    /// Sources: address and length of the prefix.
    pub source: (IpAddr, u8),
    /// Destinations.
    pub destination: (IpAddr, u8),
    /// The IP protocol number; 0 matches all.
    pub protocol: u8,
    /// How many transforms it asks for.
    pub n_templates: u32,
    /// What else narrows it, by name and value.
    pub further: Vec<String>,
}

/// A socket for asking about IPsec.
#[derive(Debug)]
pub struct Xfrm(Socket);

impl Xfrm {
    /// A socket in the calling thread's network namespace. Fails with `EPROTONOSUPPORT` where the kernel
    /// has no such thing.
    pub fn open(limits: Limits) -> Result<Self, NetlinkError> {
        Socket::open(NETLINK_XFRM, limits).map(Self)
    }

    /// All policies. Needs `CAP_NET_ADMIN` in the namespace.
    pub fn policies(&mut self) -> Result<Vec<XfrmPolicy>, NetlinkError> {
        let replies = self.0.dump(XFRM_MSG_GETPOLICY, &[0; POLICY_ID])?;
        let policies = replies.iter().filter(|(kind, _)| *kind == XFRM_MSG_NEWPOLICY);
        policies.map(|(_, body)| XfrmPolicy::decode(body)).collect()
    }
}

impl XfrmPolicy {
    /// Decodes `struct xfrm_userpolicy_info`: selector (56 bytes), limits (64), counters (32), then
    /// priority, number, direction, action.
    pub(super) fn decode(body: &[u8]) -> Result<Self, NetlinkError> {
        let Some((info, rest)) = body.split_first_chunk::<POLICY>() else {
            return Err(NetlinkError::malformed(format_args!("IPsec policy of {} bytes", body.len())));
        };
        let family = i32::from(u16::from_ne_bytes([info[40], info[41]]));
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        let address = |at: usize| match family {
            libc::AF_INET => Ok(Ipv4Addr::new(info[at], info[at + 1], info[at + 2], info[at + 3]).into()),
            // A policy that was made without a selector matches both families; its addresses are zero.
            libc::AF_INET6 | libc::AF_UNSPEC => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&info[at..at + 16]);
                Ok(Ipv6Addr::from(bytes).into())
            }
            other => Err(NetlinkError::malformed(format_args!("IPsec policy of address family {other}"))),
        };
        let mut policy = Self {
            destination: (address(0)?, info[42]),
            source: (address(16)?, info[43]),
            protocol: info[44],
            priority: word(152),
            index: word(156),
            direction: XfrmDirection::from(info[160]),
            blocks: info[161] == 1,
            n_templates: 0,
            further: selector(info),
        };
        for attribute in attributes(rest) {
            let attribute = attribute?;
            match attribute.kind {
                XFRMA_TMPL => {
                    let n_templates = attribute.value.len() / TEMPLATE;
                    policy.n_templates = u32::try_from(n_templates).map_err(NetlinkError::malformed)?;
                }
                XFRMA_MARK => {
                    let value = attribute.u32()?;
                    let bits = Attribute { value: attribute.value.get(4..).unwrap_or_default(), ..attribute };
                    policy.further.push(format!("mark {value:#x}/{:#x}", bits.u32()?));
                }
                XFRMA_IF_ID => policy.further.push(format!("if_id {:#x}", attribute.u32()?)),
                XFRMA_POLICY_TYPE if attribute.u8()? != 0 => policy.further.push("ptype sub".to_owned()),
                _ => {}
            }
        }
        Ok(policy)
    }
}

/// The parts of `struct xfrm_selector` beside addresses and protocol.
fn selector(info: &[u8; POLICY]) -> Vec<String> {
    let mut parts = Vec::new();
    for (name, at) in [("dport", 32), ("sport", 36)] {
        let port = u16::from_be_bytes([info[at], info[at + 1]]);
        let mask = u16::from_be_bytes([info[at + 2], info[at + 3]]);
        if mask != 0 {
            parts.push(format!("{name} {port}/{mask:#x}"));
        }
    }
    let link = u32::from_ne_bytes([info[48], info[49], info[50], info[51]]);
    if link != 0 {
        parts.push(format!("dev if{link}"));
    }
    parts
}

impl From<u8> for XfrmDirection {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::In,
            1 => Self::Out,
            2 => Self::Forward,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/24 proto tcp dport 80 dir out priority 7 \
    /// tmpl src 1.1.1.1 dst 2.2.2.2 proto esp mode tunnel`, as 6.18 dumps it.
    fn captured() -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&[0x0a, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[0x0a, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[0, 0x50, 0xff, 0xff, 0, 0, 0, 0, 2, 0, 0x18, 0x10, 6, 0, 0, 0]);
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&[0xff; 32]);
        body.extend_from_slice(&[0; 48]);
        body.extend_from_slice(&[0xc2, 0x8e, 1, 0x6b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[0x44, 0, 5, 0, 2, 2, 2, 2]);
        body.extend_from_slice(&[0; 16]);
        body.extend_from_slice(&[0x32, 0, 0, 0, 2, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        body.extend_from_slice(&[0xff; 8]);
        body.extend_from_slice(&[0x0a, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body
    }

    #[test]
    fn a_captured_policy_is_read() {
        let policy = XfrmPolicy::decode(&captured()).unwrap();
        let wanted = XfrmPolicy {
            index: 1,
            direction: XfrmDirection::Out,
            priority: 7,
            blocks: false,
            source: ("10.1.0.0".parse().unwrap(), 16),
            destination: ("10.2.0.0".parse().unwrap(), 24),
            protocol: 6,
            n_templates: 1,
            further: vec!["dport 80/0xffff".to_owned()],
        };
        assert_eq!(policy, wanted);
    }

    #[test]
    fn a_blocking_policy_of_ipv6_is_read() {
        let mut body = captured();
        body[..8].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0]);
        body[40] = 0x0a;
        body[160] = 2;
        body[161] = 1;
        let policy = XfrmPolicy::decode(&body).unwrap();
        assert_eq!((policy.direction, policy.blocks), (XfrmDirection::Forward, true));
        assert_eq!(policy.destination.0, "fd00::".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn an_unknown_family_and_a_short_message_are_refused() {
        let mut body = captured();
        assert!(XfrmPolicy::decode(&body[..167]).is_err());
        body[40] = 77;
        assert!(XfrmPolicy::decode(&body).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = XfrmPolicy::decode(&body);
        }

        #[test]
        fn a_policy_cut_anywhere_does_not_panic(end in 0usize..248) {
            let body = captured();
            let _ = XfrmPolicy::decode(&body[..end.min(body.len())]);
        }
    }
}
