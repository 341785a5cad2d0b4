//! What sockets are told about their packets.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use hopwise_sys::{
    namespace::NamespaceKind,
    socket::{choose_port_from, forbid_fragments, interface_mtu, interface_of, keep_errors, take_error},
};
use socket2::{Domain, Socket, Type};

use crate::{alone_in, ip};

fn alone() {
    alone_in(&[NamespaceKind::Net]);
    ip("link set lo up");
}

/// Waits for an error in the socket's queue.
fn error_of(socket: &UdpSocket) -> hopwise_sys::socket::PacketError {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(error) = take_error(socket).unwrap() {
            return error;
        }
        assert!(Instant::now() < deadline, "no error came");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_closed_port_is_told_with_type_code_sender_and_packet() {
    alone();
    for (own, icmp) in [("127.0.0.1", (3, 3)), ("::1", (1, 4))] {
        let address: IpAddr = own.parse().unwrap();
        let socket = UdpSocket::bind((address, 0)).unwrap();
        keep_errors(&socket, address.is_ipv6()).unwrap();
        assert_eq!(take_error(&socket).unwrap(), None);
        socket.connect((address, 9)).unwrap();
        socket.send(b"the packet").unwrap();
        let error = error_of(&socket);
        assert_eq!((error.errno, error.icmp, error.reporter), (111, Some(icmp), Some(address)));
        assert_eq!(error.packet, b"the packet");
    }
}

#[test]
fn a_packet_that_nobody_may_split_is_refused_where_it_does_not_fit() {
    alone();
    ip("link add ve0 mtu 1400 type veth peer name ve1");
    ip("addr add 192.0.2.1/24 dev ve0");
    ip("addr add 2001:db8::1/64 dev ve0 nodad");
    ip("link set ve0 up");
    ip("link set ve1 up");
    for (to, header) in [("192.0.2.2", 28), ("2001:db8::2", 48)] {
        let to: IpAddr = to.parse().unwrap();
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect((to, 9)).unwrap();
        let send = |length: usize| socket.send(&vec![0; length]);
        send(1401 - header).expect("split, as nobody forbids it");
        forbid_fragments(&socket, to.is_ipv6()).unwrap();
        send(1400 - header).unwrap();
        let error: io::Error = send(1401 - header).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(90), "EMSGSIZE");
    }
}

#[test]
fn an_interface_is_found_by_its_address_and_tells_its_mtu() {
    alone();
    ip("link add ve0 mtu 1234 type veth peer name ve1");
    ip("addr add 192.0.2.1/24 dev ve0");
    assert_eq!(interface_of("192.0.2.1".parse().unwrap()).unwrap().as_deref(), Some("ve0"));
    assert_eq!(interface_of("192.0.2.2".parse().unwrap()).unwrap(), None);
    assert_eq!(interface_mtu("ve0").unwrap(), 1234);
    assert_eq!(interface_mtu("nothing").unwrap_err().raw_os_error(), Some(19), "ENODEV");
    assert!(interface_mtu("a-name-that-is-much-too-long").is_err());
}

#[test]
fn ports_are_chosen_from_the_range_that_was_asked_for() {
    alone();
    for port in [40000, 40001] {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        if let Err(error) = choose_port_from(&socket, port, port) {
            assert_eq!(error.raw_os_error(), Some(92), "ENOPROTOOPT: a kernel before 6.3");
            continue;
        }
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], 9)).into()).unwrap();
        assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().port(), port);
    }
}
