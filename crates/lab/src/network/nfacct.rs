//! Accounting objects of netfilter (`nfacct`), which kube-proxy's rules refer to.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// The counters that kube-proxy 1.34 makes before it writes rules that count with them
/// (`pkg/proxy/metrics/metrics.go`).
pub(crate) const KUBE_PROXY: [&str; 2] = ["ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"];

// linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_acct.h, linux/netlink.h.
const NFNL_SUBSYS_ACCT: u16 = 7;
const NFNL_MSG_ACCT_NEW: u16 = 0;
const NFACCT_NAME: u16 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;

/// Makes counters in the calling thread's network namespace. Those that are there stay.
pub(crate) fn ensure(names: &[&str]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for name in names {
        socket.send(&message(name), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        acknowledged(&answer)?;
    }
    Ok(())
}

fn message(name: &str) -> Vec<u8> {
    let mut payload = vec![0u8, 0, 0, 0];
    let value = [name.as_bytes(), &[0]].concat();
    let length = u16::try_from(4 + value.len()).expect("names are short");
    payload.extend(length.to_ne_bytes());
    payload.extend(NFACCT_NAME.to_ne_bytes());
    payload.extend(&value);
    payload.resize(payload.len().next_multiple_of(4), 0);
    let length = u32::try_from(HEADER + payload.len()).expect("names are short");
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend((NFNL_SUBSYS_ACCT << 8 | NFNL_MSG_ACCT_NEW).to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    message
}

fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|it| it.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER..HEADER + 4).and_then(|it| it.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        // EBUSY: a counter of this name is there (net/netfilter/nfnetlink_acct.c, nfnl_acct_new).
        (Some(NLMSG_ERROR), Some(code)) if matches!(-code, 16 | 17) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "netfilter did not acknowledge")),
    }
}
