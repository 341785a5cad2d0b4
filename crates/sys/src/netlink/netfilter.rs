//! nfnetlink: which nf_tables tables and IP sets there are. What is in them is left to their own programs.

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{Limits, NetlinkError, Socket, attributes};

const NFNL_SUBSYS_IPSET: u16 = 6;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const IPSET_CMD_LIST: u16 = 7;
const NFTA_TABLE_NAME: u16 = 1;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_FLAGS: u16 = 6;
/// Asks for names alone.
const IPSET_FLAG_LIST_SETNAME: u32 = 1 << 1;
/// What every kernel since 2.6.39 speaks; newer ones also speak 7.
const IPSET_PROTOCOL: u8 = 6;

/// `struct nfgenmsg`: family, version, resource.
const GENERIC: [u8; 4] = [0; 4];

/// An nf_tables table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NftTable {
    /// `NFPROTO_*`: 1 inet, 2 ip, 3 arp, 5 netdev, 7 bridge, 10 ip6.
    pub family: u8,
    /// Its name.
    pub name: String,
}

/// A socket for nfnetlink.
///
/// Every request needs `CAP_NET_ADMIN` in the namespace (`nfnetlink_rcv`, `net/netfilter/nfnetlink.c`), and
/// makes the kernel load the subsystem's module where it is not loaded yet.
#[derive(Debug)]
pub struct Netfilter(Socket);

impl Netfilter {
    /// A socket in the calling thread's network namespace.
    pub fn open(limits: Limits) -> Result<Self, NetlinkError> {
        Socket::open(NETLINK_NETFILTER, limits).map(Self)
    }

    /// The nf_tables tables of all families. `EINVAL` means that the kernel has no nf_tables.
    pub fn tables(&mut self) -> Result<Vec<NftTable>, NetlinkError> {
        let replies = self.0.dump(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, &GENERIC)?;
        replies
            .iter()
            .filter(|(kind, _)| *kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE)
            .map(|(_, body)| NftTable::decode(body))
            .collect()
    }

    /// The names of the IP sets. `EINVAL` means that the kernel has no IP sets.
    pub fn ip_sets(&mut self) -> Result<Vec<String>, NetlinkError> {
        let replies = self.0.dump(NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST, &ip_set_request())?;
        replies.iter().map(|(_, body)| ip_set_name(body)).collect()
    }
}

impl NftTable {
    pub(super) fn decode(body: &[u8]) -> Result<Self, NetlinkError> {
        let Some(([family, ..], rest)) = body.split_first_chunk::<4>() else {
            return Err(NetlinkError::malformed(format_args!("nft table of {} bytes", body.len())));
        };
        for attribute in attributes(rest) {
            let attribute = attribute?;
            if attribute.kind == NFTA_TABLE_NAME {
                return Ok(Self { family: *family, name: attribute.text()? });
            }
        }
        Err(NetlinkError::malformed("nft table without a name"))
    }
}

fn ip_set_request() -> Vec<u8> {
    let mut body = GENERIC.to_vec();
    body.extend_from_slice(&5u16.to_ne_bytes());
    body.extend_from_slice(&IPSET_ATTR_PROTOCOL.to_ne_bytes());
    body.extend_from_slice(&[IPSET_PROTOCOL, 0, 0, 0]);
    body.extend_from_slice(&8u16.to_ne_bytes());
    // Numbers of this protocol are in network byte order, and say so.
    body.extend_from_slice(&(IPSET_ATTR_FLAGS | 0x4000).to_ne_bytes());
    body.extend_from_slice(&IPSET_FLAG_LIST_SETNAME.to_be_bytes());
    body
}

pub(super) fn ip_set_name(body: &[u8]) -> Result<String, NetlinkError> {
    for attribute in attributes(body.get(4..).unwrap_or_default()) {
        let attribute = attribute?;
        if attribute.kind == IPSET_ATTR_SETNAME {
            return attribute.text();
        }
    }
    Err(NetlinkError::malformed("IP set without a name"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn captured_tables_are_read() {
        // `nft add table inet zz`
        let body = [
            1, 0, 0, 4, 7, 0, 1, 0, 0x7a, 0x7a, 0, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0x0c, 0, 4, 0, 0, 0, 0, 0, 0,
            0, 0, 1, 8, 0, 2, 0, 0, 0, 0, 0,
        ];
        assert_eq!(NftTable::decode(&body).unwrap(), NftTable { family: 1, name: "zz".to_owned() });
        assert!(NftTable::decode(&body[..4]).is_err());
        assert!(NftTable::decode(&body[..10]).is_err());
    }

    #[test]
    fn captured_sets_are_read() {
        // `ipset create s1 hash:ip`
        let body = [2, 0, 0, 0, 5, 0, 1, 0, 6, 0, 0, 0, 7, 0, 2, 0, 0x73, 0x31, 0, 0];
        assert_eq!(ip_set_name(&body).unwrap(), "s1");
        assert!(ip_set_name(&body[..12]).is_err());
    }

    #[test]
    fn the_request_for_names_is_the_one_that_ipset_sends() {
        // `strace ipset list -n`, with protocol 6 in place of 7 and no address family.
        let sent = [0, 0, 0, 0, 5, 0, 1, 0, 6, 0, 0, 0, 8, 0, 6, 0x40, 0, 0, 0, 2];
        assert_eq!(ip_set_request(), sent);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (NftTable::decode(&body), ip_set_name(&body));
        }
    }
}
