//! The decoders as functions of one message's body, for fuzzing alone: elsewhere only the kernel feeds them.

use super::{
    DiagProtocol, DiagSocket, NetlinkError, NextHop, NftTable, Parseable, Replies, TrafficControl,
    XfrmPolicy,
    netfilter::ip_set_name,
    packet::{
        address::AddressMessage, link::LinkMessage, neighbour::NeighbourMessage, route::RouteMessage,
        rule::RuleMessage,
    },
    route::{ADDRESS_ATTRIBUTES, LINK_ATTRIBUTES, ROUTE_ATTRIBUTES, decode, namespace_number},
};

fn one<M: Parseable<[u8]>>(
    body: &[u8],
    header: usize,
    keep: Option<&[u16]>,
) -> Result<Option<M>, NetlinkError> {
    let mut replies = Replies::default();
    replies.push(1, body);
    decode(&replies, 1, header, keep).map(|mut it| it.pop())
}

/// An interface.
pub fn link(body: &[u8]) -> Result<Option<LinkMessage>, NetlinkError> {
    one(body, 16, Some(&LINK_ATTRIBUTES))
}

/// An address.
pub fn address(body: &[u8]) -> Result<Option<AddressMessage>, NetlinkError> {
    one(body, 8, Some(&ADDRESS_ATTRIBUTES))
}

/// A route.
pub fn route(body: &[u8]) -> Result<Option<RouteMessage>, NetlinkError> {
    one(body, 12, Some(&ROUTE_ATTRIBUTES))
}

/// A routing policy rule.
pub fn rule(body: &[u8]) -> Result<Option<RuleMessage>, NetlinkError> {
    one(body, 12, None)
}

/// A neighbour, or an entry of a forwarding database.
pub fn neighbour(body: &[u8]) -> Result<Option<NeighbourMessage>, NetlinkError> {
    one(body, 12, None)
}

/// A next hop object.
pub fn next_hop(body: &[u8]) -> Result<NextHop, NetlinkError> {
    NextHop::decode(body)
}

/// A queueing discipline or a filter.
pub fn traffic_control(body: &[u8]) -> Result<TrafficControl, NetlinkError> {
    TrafficControl::decode(body)
}

/// An IPsec policy.
pub fn xfrm_policy(body: &[u8]) -> Result<XfrmPolicy, NetlinkError> {
    XfrmPolicy::decode(body)
}

/// What else is decoded: sockets, names of tables and sets, numbers of namespaces.
pub fn others(body: &[u8]) {
    for protocol in [DiagProtocol::Tcp, DiagProtocol::Udp, DiagProtocol::Raw] {
        let _ = DiagSocket::decode(protocol, body);
    }
    let _ = NftTable::decode(body);
    let _ = ip_set_name(body);
    let _ = namespace_number(body);
}
