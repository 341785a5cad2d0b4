//! rtnetlink: links, addresses, routes, rules, neighbours, traffic control, namespace numbers.

use std::{fmt, os::fd::AsRawFd};

use netlink_packet_core::{DecodeError, Parseable};
use netlink_packet_route::{
    address::AddressMessage, link::LinkMessage, neighbour::NeighbourMessage, route::RouteMessage,
    rule::RuleMessage,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc;

use super::{Attribute, Family, Limits, NetlinkError, NextHop, Replies, Socket, attributes, next_hop};
use crate::NetNs;

const AF_UNSPEC: u8 = 0;
const AF_BRIDGE: u8 = 7;
const NTF_PROXY: u8 = libc::NTF_PROXY;

/// Attributes of a link that are decoded. All others are cut out first, so that a kernel that sends one in
/// a shape unknown here cannot make the link unreadable.
pub(super) const LINK_ATTRIBUTES: [u16; 12] = [
    libc::IFLA_ADDRESS,
    libc::IFLA_IFNAME,
    libc::IFLA_MTU,
    libc::IFLA_LINK,
    libc::IFLA_QDISC,
    libc::IFLA_MASTER,
    libc::IFLA_OPERSTATE,
    libc::IFLA_LINKINFO,
    libc::IFLA_STATS64,
    libc::IFLA_LINK_NETNSID,
    libc::IFLA_XDP,
    libc::IFLA_PHYS_PORT_NAME,
];

/// Attributes of an address that are decoded.
pub(super) const ADDRESS_ATTRIBUTES: [u16; 4] =
    [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST, libc::IFA_FLAGS];

/// Attributes of a route that are decoded. What an encapsulation holds is left out, its kind is not.
pub(super) const ROUTE_ATTRIBUTES: [u16; 13] = [
    libc::RTA_DST,
    libc::RTA_SRC,
    libc::RTA_IIF,
    libc::RTA_OIF,
    libc::RTA_GATEWAY,
    libc::RTA_PRIORITY,
    libc::RTA_PREFSRC,
    libc::RTA_METRICS,
    libc::RTA_MULTIPATH,
    libc::RTA_TABLE,
    libc::RTA_VIA,
    libc::RTA_ENCAP_TYPE,
    RTA_NH_ID,
];
const RTA_NH_ID: u16 = 30;

/// A queueing discipline or a filter as the kernel sent it.
///
/// Its options are left as bytes: the packet crate knows neither token buckets nor FIFOs nor the actions
/// that drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficControl {
    /// The interface's index; -1 on a block that several interfaces share.
    pub link: i32,
    /// Its handle.
    pub handle: u32,
    /// What it hangs from.
    pub parent: u32,
    /// A filter's priority in the upper and EtherType (network byte order) in the lower half.
    pub info: u32,
    /// Its attributes (`TCA_*`).
    pub attributes: Vec<u8>,
}

/// A socket for rtnetlink.
#[derive(Debug)]
pub struct Route(Socket);

impl Route {
    /// A socket in the calling thread's network namespace.
    pub fn open(limits: Limits) -> Result<Self, NetlinkError> {
        Socket::open(NETLINK_ROUTE, limits).map(Self)
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<LinkMessage>, NetlinkError> {
        let replies = self.0.dump(libc::RTM_GETLINK, &[0; 16])?;
        decode(&replies, libc::RTM_NEWLINK, 16, Some(&LINK_ATTRIBUTES))
    }

    /// All addresses of both families.
    pub fn addresses(&mut self) -> Result<Vec<AddressMessage>, NetlinkError> {
        let replies = self.0.dump(libc::RTM_GETADDR, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0])?;
        decode(&replies, libc::RTM_NEWADDR, 8, Some(&ADDRESS_ATTRIBUTES))
    }

    /// All routes of one address family, all tables. Exceptions that path MTU discovery and redirects made
    /// are left out by kernels since 5.3 and marked by all (`RTM_F_CLONED`).
    pub fn routes(&mut self, family: Family) -> Result<Vec<RouteMessage>, NetlinkError> {
        let mut body = [0; 12];
        body[0] = family.number();
        let replies = self.0.dump(libc::RTM_GETROUTE, &body)?;
        decode(&replies, libc::RTM_NEWROUTE, 12, Some(&ROUTE_ATTRIBUTES))
    }

    /// All routing policy rules of one address family.
    pub fn rules(&mut self, family: Family) -> Result<Vec<RuleMessage>, NetlinkError> {
        let mut body = [0; 12];
        body[0] = family.number();
        let replies = self.0.dump(libc::RTM_GETRULE, &body)?;
        decode(&replies, libc::RTM_NEWRULE, 12, None)
    }

    /// All next hop objects.
    pub fn next_hops(&mut self) -> Result<Vec<NextHop>, NetlinkError> {
        let replies = self.0.dump(next_hop::RTM_GETNEXTHOP, &[0; 8])?;
        replies
            .iter()
            .filter(|(kind, _)| *kind == next_hop::RTM_NEWNEXTHOP)
            .map(|(_, body)| NextHop::decode(body))
            .collect()
    }

    /// The neighbour entries of both families.
    pub fn neighbours(&mut self) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        self.neighbour_table(AF_UNSPEC, 0)
    }

    /// The entries by which the namespace answers in other stations' stead.
    pub fn proxy_neighbours(&mut self) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        self.neighbour_table(AF_UNSPEC, NTF_PROXY)
    }

    /// The forwarding databases of bridges and of devices with one of their own.
    pub fn forwarding_databases(&mut self) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        self.neighbour_table(AF_BRIDGE, 0)
    }

    fn neighbour_table(&mut self, family: u8, flags: u8) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        let mut body = [0; 12];
        body[0] = family;
        body[10] = flags;
        let replies = self.0.dump(libc::RTM_GETNEIGH, &body)?;
        decode(&replies, libc::RTM_NEWNEIGH, 12, None)
    }

    /// All queueing disciplines.
    pub fn queueing_disciplines(&mut self) -> Result<Vec<TrafficControl>, NetlinkError> {
        let replies = self.0.dump(libc::RTM_GETQDISC, &[0; 20])?;
        traffic_control(&replies, libc::RTM_NEWQDISC)
    }

    /// The filters of one interface at one place: the handle of a queueing discipline, or one of the two
    /// places of `clsact`.
    pub fn filters(&mut self, link: u32, parent: u32) -> Result<Vec<TrafficControl>, NetlinkError> {
        let mut body = [0; 20];
        body[4..8].copy_from_slice(&link.to_ne_bytes());
        body[12..16].copy_from_slice(&parent.to_ne_bytes());
        let replies = self.0.dump(libc::RTM_GETTFILTER, &body)?;
        traffic_control(&replies, libc::RTM_NEWTFILTER)
    }

    /// The number that the calling namespace has for another (`IFLA_LINK_NETNSID` speaks in these); none
    /// where it has given none. Asking gives none.
    pub fn namespace_number(&mut self, other: &NetNs) -> Result<Option<i32>, NetlinkError> {
        // struct rtgenmsg with its padding, then NETNSA_FD (3).
        let mut body = vec![AF_UNSPEC, 0, 0, 0, 8, 0, 3, 0];
        body.extend_from_slice(&std::os::fd::AsFd::as_fd(other).as_raw_fd().to_ne_bytes());
        let replies = self.0.get(RTM_GETNSID, &body)?;
        for (kind, body) in replies.iter() {
            if kind == RTM_NEWNSID {
                return namespace_number(body);
            }
        }
        Err(NetlinkError::malformed("no RTM_NEWNSID in the answer"))
    }
}

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;

/// Decodes `RTM_NEWNSID`: `NETNSA_NSID` (1) is -1 where there is no number.
pub(super) fn namespace_number(body: &[u8]) -> Result<Option<i32>, NetlinkError> {
    for attribute in attributes(body.get(4..).unwrap_or_default()) {
        let attribute = attribute?;
        if attribute.kind == 1 {
            let number = attribute.bytes().map(i32::from_ne_bytes)?;
            return Ok((number >= 0).then_some(number));
        }
    }
    Err(NetlinkError::malformed("RTM_NEWNSID without a number"))
}

/// Decodes the messages of one kind, each cut down to the attributes in `keep` first.
pub(super) fn decode<M>(
    replies: &Replies,
    kind: u16,
    header: usize,
    keep: Option<&[u16]>,
) -> Result<Vec<M>, NetlinkError>
where
    M: Parseable<[u8]>,
{
    let mut messages = Vec::new();
    for (found, body) in replies.iter() {
        if found != kind {
            continue;
        }
        // The packet crate indexes behind the header without looking.
        if body.len() < header {
            return Err(NetlinkError::malformed(format_args!("message {kind} of {} bytes", body.len())));
        }
        let message = match keep {
            Some(keep) => M::parse(&cut(body, header, keep)?),
            None => M::parse(body),
        };
        messages.push(message.map_err(|error: DecodeError| named(kind, &error))?);
    }
    Ok(messages)
}

fn named(kind: u16, error: &dyn fmt::Display) -> NetlinkError {
    NetlinkError::malformed(format_args!("message {kind}: {error}"))
}

/// The message with only the attributes in `keep`.
fn cut(body: &[u8], header: usize, keep: &[u16]) -> Result<Vec<u8>, NetlinkError> {
    let mut kept = body[..header].to_vec();
    for attribute in attributes(&body[header..]) {
        let Attribute { kind, value } = attribute?;
        if keep.contains(&kind) {
            let length = u16::try_from(value.len() + 4).map_err(NetlinkError::malformed)?;
            kept.extend_from_slice(&length.to_ne_bytes());
            kept.extend_from_slice(&kind.to_ne_bytes());
            kept.extend_from_slice(value);
            kept.resize(kept.len().next_multiple_of(4), 0);
        }
    }
    Ok(kept)
}

fn traffic_control(replies: &Replies, kind: u16) -> Result<Vec<TrafficControl>, NetlinkError> {
    let messages = replies.iter().filter(|(found, _)| *found == kind);
    messages.map(|(_, body)| TrafficControl::decode(body)).collect()
}

impl TrafficControl {
    /// Decodes `struct tcmsg` and what follows it.
    pub(super) fn decode(body: &[u8]) -> Result<Self, NetlinkError> {
        let Some((header, attributes)) = body.split_first_chunk::<20>() else {
            return Err(NetlinkError::malformed(format_args!(
                "traffic control message of {} bytes",
                body.len()
            )));
        };
        let word = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_ne_bytes(bytes)
        };
        Ok(Self {
            link: word(4).cast_signed(),
            handle: word(8),
            parent: word(12),
            info: word(16),
            attributes: attributes.to_vec(),
        })
    }

    /// Its attributes, decoded one by one.
    pub fn attributes(&self) -> impl Iterator<Item = Result<Attribute<'_>, NetlinkError>> {
        attributes(&self.attributes)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkAttribute;
    use proptest::prelude::*;

    use super::*;

    fn replies(kind: u16, body: &[u8]) -> Replies {
        let mut replies = Replies::default();
        replies.push(kind, body);
        replies
    }

    #[test]
    fn an_attribute_in_an_unknown_shape_does_not_hide_the_link() {
        let mut body = vec![0; 16];
        body[4] = 7;
        body.extend_from_slice(&[8, 0, 4, 0, 0xdc, 5, 0, 0]); // IFLA_MTU 1500
        body.extend_from_slice(&[6, 0, 13, 0, 1, 2, 0, 0]); // IFLA_TXQLEN, two bytes in place of four
        let links: Vec<LinkMessage> = decode(&replies(16, &body), 16, 16, Some(&LINK_ATTRIBUTES)).unwrap();
        assert_eq!(links[0].header.index, 7);
        assert_eq!(links[0].attributes, [LinkAttribute::Mtu(1500)]);
        assert!(decode::<LinkMessage>(&replies(16, &body), 16, 16, None).is_err());
    }

    #[test]
    fn namespace_numbers_are_none_where_the_kernel_gave_none() {
        // Captured from `ip netns list-id`'s request for a namespace without and with a number.
        assert_eq!(namespace_number(&[0, 0, 0, 0, 8, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]).unwrap(), None);
        assert_eq!(namespace_number(&[0, 0, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0]).unwrap(), Some(3));
        assert!(namespace_number(&[0, 0]).is_err());
    }

    #[test]
    fn the_own_namespace_can_be_read() {
        let mut route = Route::open(Limits::default()).unwrap();
        assert!(!route.links().unwrap().is_empty());
        for family in Family::ALL {
            route.routes(family).unwrap();
            assert!(!route.rules(family).unwrap().is_empty());
        }
        route.addresses().unwrap();
        route.neighbours().unwrap();
        route.proxy_neighbours().unwrap();
        route.forwarding_databases().unwrap();
        route.next_hops().unwrap();
        route.queueing_disciplines().unwrap();
        let own = NetNs::current().unwrap();
        let before = route.namespace_number(&own).unwrap();
        assert_eq!(route.namespace_number(&own).unwrap(), before, "asking gave a number");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let body = replies(1, &body);
            let _ = decode::<LinkMessage>(&body, 1, 16, Some(&LINK_ATTRIBUTES));
            let _ = decode::<AddressMessage>(&body, 1, 8, Some(&ADDRESS_ATTRIBUTES));
            let _ = decode::<RouteMessage>(&body, 1, 12, Some(&ROUTE_ATTRIBUTES));
            let _ = decode::<RuleMessage>(&body, 1, 12, None);
            let _ = decode::<NeighbourMessage>(&body, 1, 12, None);
            let _ = traffic_control(&body, 1);
        }
    }
}
