//! Sockets beyond what the standard library does: raw ones, path MTU, the error queue.
//!
//! ip(7), ipv6(7), icmp(7).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvfrom, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};

/// Takes one message with its source address.
///
/// For a raw IPv6 socket, which gets messages without their IP header (raw(7)).
pub fn receive_from(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, IpAddr)> {
    let (length, source) = recvfrom::<SockaddrStorage>(socket.as_fd().as_raw_fd(), buffer)?;
    let source = source.as_ref().and_then(address_of);
    source.map(|it| (length, it)).ok_or_else(|| io::Error::other("a message without a source address"))
}

fn address_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

/// Has the socket keep what ICMP says about its packets, for [`take_error`].
pub fn keep_errors(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        setsockopt(&socket.as_fd(), Ipv6RecvErr, &true)?;
    } else {
        setsockopt(&socket.as_fd(), Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// Has the socket send packets that nobody may split, also where the kernel knows the path to be narrower.
///
/// Then the kernel refuses with `EMSGSIZE` what its route's MTU does not let through.
pub fn forbid_fragments(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    if !is_ipv6 {
        return set_number(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO);
    }
    set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
    // In IPv6 the sender itself splits, unless told not to.
    set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
}

/// Has the socket send packets that nobody may split, whatever the kernel knows of the path: for 10 minutes after a narrow
/// path was widened it remembers what it was told (`net.ipv4.route.mtu_expires`, ip(7) `IP_PMTUDISC_PROBE`).
///
/// The kernel refuses with `EMSGSIZE` what the interface does not take. It does not look at the MTU of a route.
pub fn probe_path(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    if !is_ipv6 {
        return set_number(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE);
    }
    set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
}

/// Has the socket send packets that routers may split, and forget what the kernel knows of narrow paths.
pub fn allow_fragments(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
    } else {
        set_number(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
    }
}

fn set_number(socket: &impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value outlives the call and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            libc::socklen_t::try_from(size_of_val(&value)).expect("four bytes"),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel choose the socket's own port from `first..=last` when it connects (`IP_LOCAL_PORT_RANGE`).
///
/// `ENOPROTOOPT` before Linux 6.3.
pub fn choose_port_from(socket: &impl AsFd, first: u16, last: u16) -> io::Result<()> {
    // include/uapi/linux/in.h.
    const IP_LOCAL_PORT_RANGE: i32 = 51;
    let range = u32::from(last) << 16 | u32::from(first);
    set_number(socket, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, range.cast_signed())
}

/// What ICMP, or the kernel itself, said about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketError {
    /// The error number that a system call would have returned.
    pub errno: i32,
    /// Type and code of the ICMP message, where one said it.
    pub icmp: Option<(u8, u8)>,
    /// Who sent the ICMP message.
    pub reporter: Option<IpAddr>,
    /// What the ICMP message quotes of the packet, behind its IP header.
    pub packet: Vec<u8>,
}

/// Takes the next error from the socket's queue; `None` when there is none. Does not wait.
pub fn take_error(socket: &impl AsFd) -> io::Result<Option<PacketError>> {
    let mut buffer = [0; 512];
    let mut data = [io::IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        match recvmsg::<SockaddrStorage>(socket.as_fd().as_raw_fd(), &mut data, Some(&mut control), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    let mut found = None;
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4RecvErr(error, reporter) => {
                let address = reporter.map(|it| Ipv4Addr::from(u32::from_be(it.sin_addr.s_addr)));
                found = Some((error, address.map(IpAddr::V4)));
            }
            ControlMessageOwned::Ipv6RecvErr(error, reporter) => {
                let address = reporter.map(|it| Ipv6Addr::from(it.sin6_addr.s6_addr));
                found = Some((error, address.map(IpAddr::V6)));
            }
            _ => {}
        }
    }
    let length = message.bytes;
    Ok(found.map(|(error, reporter)| packet_error(error, reporter, &buffer[..length])))
}

fn packet_error(error: libc::sock_extended_err, reporter: Option<IpAddr>, packet: &[u8]) -> PacketError {
    let is_icmp = matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    PacketError {
        errno: error.ee_errno.cast_signed(),
        icmp: is_icmp.then_some((error.ee_type, error.ee_code)),
        reporter: reporter.filter(|_| is_icmp),
        packet: packet.to_vec(),
    }
}

/// The MTU of an interface of the calling thread's network namespace, in bytes (`SIOCGIFMTU`).
pub fn interface_mtu(name: &str) -> io::Result<u32> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: all bytes zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is a valid `ifreq` with a name that ends with a zero byte, and outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFMTU has filled this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// The interface that has `address`, in the calling thread's network namespace.
pub fn interface_of(address: IpAddr) -> io::Result<Option<String>> {
    let of = |it: &nix::ifaddrs::InterfaceAddress| it.address.as_ref().and_then(address_of) == Some(address);
    Ok(nix::ifaddrs::getifaddrs()?.find(of).map(|it| it.interface_name))
}
