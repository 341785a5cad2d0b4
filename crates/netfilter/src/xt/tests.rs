//! Each match and target, in the words of iptables-save.

use hopwise_snapshot::{Mac, Observed, RouteKind};

use crate::{
    ConnectionState, ConnectionStatus, Device, Direction, Effect, Ether, FoundSocket, Fragment, NatKind,
    Network, Owner, PacketRoute, PacketType, RejectWith, Side, TcpFlags, Transport, Verdict, View,
    testing::{World, address, applied, connected, holds, holds_in, icmp, syn, tcp, udp, unread},
};

/// Checks that each of these holds, and its opposite where it is written with `!`, does not.
#[track_caller]
fn check(view: &View<'_>, yes: &[&str], no: &[&str]) {
    for condition in yes {
        assert_eq!(holds(condition, view), "yes", "{condition}");
    }
    for condition in no {
        assert_eq!(holds(condition, view), "no", "{condition}");
    }
}

fn later_fragment(mut view: View<'_>) -> View<'_> {
    let Network::Ip(header) = &mut view.network else { unreachable!() };
    header.fragment = Some(Fragment { offset: 185, more: true });
    view.transport = Transport::Other;
    view
}

#[test]
fn addresses_protocols_and_devices() {
    let mut view = syn();
    view.input = Some(Device::named("eth0"));
    check(
        &view,
        &[
            "-s 10.0.0.0/8",
            "! -s 10.0.0.2/32",
            "-d 10.0.0.2/32",
            "-d 10.0.0.0/255.0.255.0",
            "-i eth0",
            "-i eth+",
            "! -i lo",
            "-p tcp",
            "! -p udp",
            "! -o eth1",
            "! -f",
        ],
        &["! -s 10.0.0.0/8", "-s 10.0.0.2/32", "-i eth", "-o eth+", "-o eth0", "-p udp", "-p gre", "-f"],
    );
    check(&later_fragment(syn()), &["-f", "-p tcp"], &["! -f"]);
    check(&tcp("2001:db8::1", 1, "::1", 2, TcpFlags::ACK), &["-s 2001:db8::/32"], &["! -d ::1/128"]);
}

#[test]
fn ports_and_flags_of_tcp() {
    check(
        &syn(),
        &[
            "-p tcp -m tcp",
            "-p tcp -m tcp --dport 80",
            "-p tcp -m tcp --sport 1024:65535 --dport 80:81",
            "-p tcp -m tcp ! --sport 80",
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
            "-p tcp -m tcp ! --tcp-flags SYN NONE",
            "-p tcp -m tcp --tcp-option 2",
            "-p tcp -m tcpmss --mss 1400:1500",
            "-p tcp -m multiport --dports 22,80,443",
            "-p tcp -m multiport --ports 40000:40001",
            "-p tcp -m multiport ! --sports 80,443",
        ],
        &[
            "-p tcp -m tcp ! --dport 80",
            "-p tcp -m tcp --dport 81:90",
            "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN",
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
            "-p udp -m udp --dport 80",
            "-p tcp -m multiport --sports 80",
            "-p tcp -m tcpmss ! --mss 1460",
        ],
    );
    assert!(holds("-p tcp -m tcp --tcp-option 4", &syn()).contains("not modelled"));
    let mut without = syn();
    let Transport::Tcp(tcp) = &mut without.transport else { unreachable!() };
    tcp.mss = None;
    check(&without, &["-p tcp -m tcpmss ! --mss 1460"], &["-p tcp -m tcpmss --mss 0:65535"]);
}

#[test]
fn a_later_fragment_matches_no_port_negated_or_not() {
    check(
        &later_fragment(syn()),
        &["-p tcp"],
        &["-p tcp -m tcp --dport 80", "-p tcp -m tcp ! --dport 80", "-p tcp -m multiport ! --dports 80"],
    );
    check(&later_fragment(udp("1.1.1.1", "2.2.2.2", 53)), &[], &["-p udp -m udp"]);
}

#[test]
fn a_tcp_fragment_that_would_overwrite_the_ports_is_dropped() {
    let mut view = later_fragment(syn());
    let Network::Ip(header) = &mut view.network else { unreachable!() };
    header.fragment = Some(Fragment { offset: 1, more: true });
    let text = "-p tcp -m tcp --dport 9999 -j ACCEPT";
    let (outcome, _) = applied("filter", "FORWARD", text, &view, &mut World::default());
    assert_eq!((outcome.verdict, outcome.by.is_policy()), (Verdict::Drop, false));
}

#[test]
fn udp_and_protocols_with_ports() {
    check(&udp("10.0.0.1", "10.96.0.10", 53), &["-p udp -m udp --dport 53"], &["-p udp -m udp ! --dport 53"]);
    let mut sctp = udp("10.0.0.1", "10.0.0.2", 80);
    sctp.transport = Transport::Ports { source_port: 1, destination_port: 80 };
    let Network::Ip(header) = &mut sctp.network else { unreachable!() };
    header.protocol = 132;
    check(
        &sctp,
        &["-p sctp -m sctp --dport 80", "-p sctp -m multiport --dports 80"],
        &["-p sctp -m sctp --sport 80", "-p sctp -m sctp --dport 81 --chunk-types all DATA"],
    );
    assert!(holds("-p sctp -m sctp --chunk-types all DATA", &sctp).contains("chunks"));
}

#[test]
fn icmp_types_and_codes() {
    check(
        &icmp("10.0.0.1", "10.0.0.2", 3, 4),
        &[
            "-p icmp -m icmp --icmp-type any",
            "-p icmp -m icmp --icmp-type 3",
            "-p icmp -m icmp --icmp-type 3/4",
        ],
        &[
            "-p icmp -m icmp --icmp-type 3/3",
            "-p icmp -m icmp ! --icmp-type 3",
            "-p icmp -m icmp --icmp-type 8",
        ],
    );
    check(
        &icmp("fe80::1", "fe80::2", 135, 0),
        &["-p ipv6-icmp -m icmp6 --icmpv6-type 135", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/0"],
        &["-p ipv6-icmp -m icmp6 --icmpv6-type 136"],
    );
}

#[test]
fn header_fields() {
    let mut view = syn();
    let Network::Ip(header) = &mut view.network else { unreachable!() };
    (header.tos, header.ttl, header.total_length) = (0xb9, 63, 60);
    check(
        &view,
        &[
            "-m ttl --ttl-eq 63",
            "-m ttl ! --ttl-eq 64",
            "-m ttl --ttl-lt 64",
            "-m ttl --ttl-gt 62",
            "-m tos --tos 0xb8/0xfc",
            "-m dscp --dscp 0x2e",
            "-m dscp ! --dscp 0x00",
            "-m ecn --ecn-ip-ect 1",
            "-p tcp -m ecn ! --ecn-tcp-ece",
            "-m length --length 60",
            "-m length --length 0:100",
            "-m length ! --length 1000:65535",
        ],
        &[
            "-m ttl --ttl-gt 63",
            "-m tos ! --tos 0xb9/0xff",
            "-p tcp -m ecn --ecn-tcp-cwr",
            "-m length --length 61:65535",
        ],
    );
    check(&tcp("::1", 1, "::2", 2, TcpFlags::SYN), &["-m hl --hl-eq 64"], &["-m hl --hl-lt 64"]);
}

#[test]
fn stations_and_packet_types() {
    check(
        &syn(),
        &["-m pkttype --pkt-type unicast"],
        &["-m mac --mac-source 02:00:00:00:00:01", "-m mac ! --mac-source 02:00:00:00:00:01"],
    );
    let mut view = syn();
    let source = "02:00:00:00:00:01".parse().unwrap();
    view.ether = Some(Ether { source, destination: Mac::BROADCAST, ethertype: 0x0800, vlan: None });
    view.packet_type = PacketType::Broadcast;
    check(
        &view,
        &["-m mac --mac-source 02:00:00:00:00:01", "-m pkttype --pkt-type broadcast"],
        &["-m mac ! --mac-source 02:00:00:00:00:01", "-m pkttype ! --pkt-type broadcast"],
    );
}

#[test]
fn fragments_of_ipv6() {
    let whole = tcp("::1", 1, "::2", 2, TcpFlags::SYN);
    check(&whole, &[], &["-m frag", "-m frag --fragfirst"]);
    check(
        &later_fragment(whole.clone()),
        &["-m frag", "-m frag --fragmore"],
        &["-m frag --fragfirst", "-m frag --fraglast"],
    );
    assert!(holds("-m frag --fragid 1:42", &later_fragment(whole)).contains("identifier"));
}

#[test]
fn marks_of_packet_and_connection() {
    let mut view = connected(syn(), ConnectionState::New);
    view.mark = 0x4001;
    view.connection.as_mut().unwrap().mark = 0x10;
    check(
        &view,
        &[
            "-m mark --mark 0x4000/0x4000",
            "-m mark ! --mark 0x4000",
            "-m connmark --mark 0x10/0xff",
            "-m connmark ! --mark 0x1",
        ],
        &["-m mark ! --mark 0x4000/0x4000", "-m connmark --mark 0x0"],
    );
    check(&syn(), &[], &["-m connmark --mark 0x0", "-m connmark ! --mark 0x1"]);
}

#[test]
fn states_of_connections() {
    let established = connected(syn(), ConnectionState::Established);
    check(
        &established,
        &["-m conntrack --ctstate RELATED,ESTABLISHED", "-m state --state ESTABLISHED"],
        &["-m conntrack ! --ctstate RELATED,ESTABLISHED", "-m conntrack --ctstate INVALID,NEW"],
    );
    // Before tracking has seen it, a packet is invalid to the module.
    check(
        &syn(),
        &["-m conntrack --ctstate INVALID", "-m conntrack ! --ctstate NEW"],
        &["-m conntrack --ctstate NEW", "-m conntrack --ctdir ORIGINAL", "-m state --state NEW"],
    );
    // Without a connection only the state is looked at.
    check(&syn(), &["-m conntrack --ctstate INVALID --ctdir REPLY"], &[]);
    check(
        &connected(syn(), ConnectionState::Untracked),
        &["-m conntrack --ctstate UNTRACKED"],
        &["-m conntrack --ctstate INVALID"],
    );
}

#[test]
fn translated_connections_have_states_of_their_own() {
    let mut view = connected(syn(), ConnectionState::New);
    view.connection.as_mut().unwrap().status |= ConnectionStatus::DESTINATION_NAT;
    check(
        &view,
        &["-m conntrack --ctstate DNAT", "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate SNAT"],
        // kube-proxy: block incoming localnet connections.
        &["-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", "-m state --state INVALID"],
    );
}

#[test]
fn tuples_and_status_of_connections() {
    let mut view = connected(syn(), ConnectionState::Established);
    let connection = view.connection.as_mut().unwrap();
    connection.direction = Direction::Reply;
    connection.reply.source = address("10.244.1.2");
    connection.reply.source_port = 8080;
    check(
        &view,
        &[
            "-m conntrack --ctproto 6",
            "-m conntrack --ctorigsrc 10.0.0.1 --ctorigdstport 80",
            "-m conntrack --ctorigdst 10.0.0.0/24",
            "-m conntrack --ctreplsrc 10.244.0.0/16 --ctreplsrcport 8000:9000",
            "-m conntrack --ctrepldstport 40000",
            "-m conntrack --ctstatus ASSURED,CONFIRMED",
            "-m conntrack ! --ctstatus SEEN_REPLY",
            "-m conntrack --ctdir REPLY",
        ],
        &[
            "-m conntrack ! --ctorigsrc 10.0.0.1",
            "-m conntrack --ctorigdstport 81",
            "-m conntrack --ctstatus NONE",
            "-m conntrack --ctdir ORIGINAL",
        ],
    );
    assert!(holds("-m conntrack --ctexpire 10:20", &view).contains("expires"));
}

#[test]
fn helpers_of_connections() {
    let mut view = connected(syn(), ConnectionState::Related);
    check(&view, &["-m helper ! --helper ftp"], &["-m helper --helper ftp"]);
    view.connection.as_mut().unwrap().helper = Some("ftp-2121".to_owned());
    check(&view, &["-m helper --helper ftp", "-m helper --helper \"\""], &["-m helper ! --helper ftp"]);
}

#[test]
fn types_of_addresses() {
    let mut world = World::default();
    world.kinds.insert(address("10.0.0.2"), RouteKind::Local);
    let ask = |world: &mut World, condition: &str, view: &View<'_>| holds_in(condition, view, world, &[]);
    assert_eq!(ask(&mut world, "-m addrtype --dst-type LOCAL", &syn()), "yes");
    assert_eq!(ask(&mut world, "-m addrtype ! --dst-type LOCAL,MULTICAST", &syn()), "no");
    assert_eq!(ask(&mut world, "-m addrtype --src-type UNICAST --dst-type LOCAL", &syn()), "yes");
    assert_eq!(ask(&mut world, "-m addrtype ! --src-type LOCAL", &syn()), "yes");
    let group = udp("10.0.0.1", "224.0.0.251", 5353);
    assert_eq!(ask(&mut world, "-m addrtype --dst-type MULTICAST", &group), "yes");
    let everyone = udp("0.0.0.0", "255.255.255.255", 67);
    assert_eq!(ask(&mut world, "-m addrtype --src-type BROADCAST --dst-type BROADCAST", &everyone), "yes");
    let mut view = syn();
    view.input = Some(Device::named("eth0"));
    world.queries.borrow_mut().clear();
    ask(&mut world, "-m addrtype --dst-type LOCAL --limit-iface-in", &view);
    assert_eq!(*world.queries.borrow(), ["kind 10.0.0.2 Some(\"eth0\")"]);
}

#[test]
fn types_of_ipv6_addresses_are_demanded_all_at_once() {
    let mut world = World::default();
    world.kinds.insert(address("::2"), RouteKind::Local);
    let view = tcp("::1", 1, "::2", 2, TcpFlags::SYN);
    let mut ask = |condition: &str| holds_in(condition, &view, &mut world, &[]);
    assert_eq!(ask("-m addrtype --dst-type LOCAL"), "yes");
    assert_eq!(ask("-m addrtype --dst-type UNICAST,LOCAL"), "yes");
    assert_eq!(ask("-m addrtype --dst-type LOCAL,MULTICAST"), "no");
    assert_eq!(ask("-m addrtype --src-type LOCAL"), "no");
    assert_eq!(ask("-m addrtype --src-type UNICAST"), "yes");
}

#[test]
fn ranges_of_addresses() {
    check(
        &syn(),
        &["-m iprange --src-range 10.0.0.0-10.0.0.9", "-m iprange ! --dst-range 10.0.0.3-10.0.0.9"],
        &["-m iprange --src-range 10.0.0.2-10.0.0.9 --dst-range 10.0.0.0-10.0.0.9"],
    );
}

#[test]
fn comments_and_accounting_always_hold() {
    check(&syn(), &["-m comment --comment \"a b\"", "-m nfacct --nfacct-name  ct_state_invalid"], &[]);
}

#[test]
fn chance_is_asked_with_its_weight() {
    let mut world = World::default();
    let condition = "-m statistic --mode random --probability 0.33333333349";
    assert_eq!(holds_in(condition, &syn(), &mut world, &[]), "yes");
    assert!((world.weights[0][0] - 1.0 / 3.0).abs() < 1e-9, "{:?}", world.weights);
    world.pick = 1;
    assert_eq!(holds_in(condition, &syn(), &mut world, &[]), "no");
    holds_in("-m statistic --mode nth ! --every 4 --packet 1", &syn(), &mut world, &[]);
    assert_eq!(world.weights[2], [0.75, 0.25]);
}

#[test]
fn what_is_certain_is_not_left_to_chance() {
    check(
        &syn(),
        &[
            "-m statistic --mode random --probability 1.00000000000",
            "-m statistic --mode nth --every 1 --packet 0",
            "-m statistic --mode random ! --probability 0.00000000000",
        ],
        &["-m statistic --mode random --probability 0.00000000000"],
    );
}

#[test]
fn chance_is_asked_only_when_all_else_holds() {
    let mut world = World::default();
    let condition =
        "-d 1.2.3.4/32 -m statistic --mode random --probability 0.50000000000 -m limit --limit 1/sec";
    assert_eq!(holds_in(condition, &syn(), &mut world, &[]), "no");
    assert_eq!(world.weights, Vec::<Vec<f64>>::new());
}

#[test]
fn bridge_ports() {
    let mut view = syn();
    check(
        &view,
        &["-m physdev ! --physdev-is-bridged", "-m physdev ! --physdev-in veth1"],
        &["-m physdev --physdev-is-bridged", "-m physdev --physdev-in veth1"],
    );
    view.physical_input = Some("veth1");
    check(
        &view,
        &["-m physdev --physdev-in veth+", "-m physdev --physdev-is-in"],
        &[
            "-m physdev --physdev-is-bridged",
            "-m physdev --physdev-out veth2",
            "-m physdev ! --physdev-out veth2",
        ],
    );
    view.physical_output = Some("veth2");
    check(
        &view,
        &["-m physdev --physdev-is-bridged", "-m physdev --physdev-in veth1 --physdev-out veth2"],
        &["-m physdev ! --physdev-is-bridged", "-m physdev --physdev-is-out ! --physdev-out veth2"],
    );
}

#[test]
fn groups_of_devices() {
    let mut view = syn();
    view.input = Some(Device { group: Some(5), ..Device::named("eth0") });
    check(
        &view,
        &["-m devgroup --src-group 0x5", "-m devgroup ! --src-group 0x0"],
        &["-m devgroup --src-group 0x4", "-m devgroup --dst-group 0x5"],
    );
    view.input = Some(Device::named("eth0"));
    assert!(holds("-m devgroup --src-group 0x5", &view).contains("group"));
}

#[test]
fn owners_of_local_packets() {
    check(
        &syn(),
        &["-m owner ! --uid-owner 0", "-m owner ! --socket-exists"],
        &["-m owner --uid-owner 0", "-m owner --socket-exists", "-m owner ! --uid-owner 0 --gid-owner 0"],
    );
    let mut view = syn();
    view.owner = Some(Owner { uid: Some(1000), ..Owner::default() });
    check(
        &view,
        &["-m owner --uid-owner 1000", "-m owner --uid-owner 0-65534", "-m owner --socket-exists"],
        &["-m owner ! --uid-owner 1000", "-m owner ! --socket-exists"],
    );
    assert!(holds("-m owner --gid-owner 0", &view).contains("group"));
}

#[test]
fn control_groups_of_local_packets() {
    let mut view = syn();
    check(&view, &[], &["-m cgroup --cgroup 1", "-m cgroup ! --cgroup 1"]);
    let cgroup = Some("/system.slice/kubelet.service".to_owned());
    view.owner = Some(Owner { class_id: Some(1), cgroup, ..Owner::default() });
    check(
        &view,
        &["-m cgroup --cgroup 1", "-m cgroup --path \"system.slice\"", "-m cgroup ! --path user"],
        &["-m cgroup --path system", "-m cgroup ! --cgroup 1"],
    );
}

#[test]
fn sockets_of_packets() {
    let ask =
        |condition: &str, socket| holds_in(condition, &syn(), &mut World { socket, ..World::default() }, &[]);
    let wildcard = Observed::Known(FoundSocket { transparent: true, wildcard: true, mark: 9 });
    assert_eq!(ask("-m socket", Observed::Absent), "no");
    assert_eq!(ask("-m socket", wildcard.clone()), "no");
    assert_eq!(ask("-m socket --nowildcard", wildcard.clone()), "yes");
    assert_eq!(ask("-m socket --transparent --nowildcard", wildcard), "yes");
    assert!(ask("-m socket", unread()).contains("timed out"));
}

#[test]
fn a_socket_may_lend_the_packet_its_mark() {
    let socket = Observed::Known(FoundSocket { transparent: true, wildcard: false, mark: 9 });
    let mut world = World { socket, ..World::default() };
    let target = "-m socket --transparent --restore-skmark -j ACCEPT";
    let (_, view) = applied("mangle", "PREROUTING", target, &syn(), &mut world);
    assert_eq!(view.mark, 9);
}

#[test]
fn reverse_paths() {
    let mut world = World { reverse: Observed::Known(false), ..World::default() };
    let mut view = syn();
    view.input = Some(Device::named("eth0"));
    assert_eq!(holds_in("-m rpfilter --loose --validmark", &view, &mut world, &[]), "no");
    assert!(world.queries.borrow()[0].contains("loose: true, with_mark: true, accept_local: false"));
    assert_eq!(holds_in("-m rpfilter --invert", &view, &mut world, &[]), "yes");
    view.input = Some(Device::named("lo"));
    assert_eq!(holds_in("-m rpfilter --invert", &view, &mut world, &[]), "no");
}

#[test]
fn transforms_and_realms() {
    check(&syn(), &["-m policy --dir in --pol none"], &["-m policy --dir in --pol ipsec"]);
    let route =
        PacketRoute { next_hop: address("10.0.0.2"), class_id: 0x2a, tcp_mss: 1460, is_transformed: true };
    let mut world = World { route: Observed::Known(route), ..World::default() };
    let mut ask = |condition: &str| holds_in(condition, &syn(), &mut world, &[]);
    assert_eq!(ask("-m realm --realm 0x2a"), "yes");
    assert_eq!(ask("-m realm ! --realm 0xa/0xf"), "no");
    assert_eq!(ask("-m policy --dir out --pol ipsec"), "yes");
    assert!(ask("-m policy --dir out --pol ipsec --strict --reqid 1").contains("details"));
}

#[test]
fn bytes_of_the_packet() {
    check(
        &syn(),
        &[
            // Protocol 6, no fragment, destination port 80 behind a header of variable length.
            "-m u32 --u32 \"0x6&0xff=0x6&&0x4&0x1fff=0x0&&0x0>>0x16&0x3c@0x0&0xffff=0x50\"",
            "-m u32 ! --u32 \"0x6&0xff=0x11\"",
        ],
        &["-m u32 --u32 \"0x6&0xff=0x7:0xff\"", "-m u32 --u32 \"0x3e8=0x0\""],
    );
    assert!(holds("-m u32 --u32 \"0x4=0x0\"", &syn()).contains("not known"));
    check(
        &syn(),
        &["-m string ! --string \"a long text\" --algo bm --from 50"],
        &["-m string --string \"a long text\" --algo bm --from 50"],
    );
    assert!(holds("-m string --hex-string \"|00ff|\" --algo kmp", &syn()).contains("payload"));
}

#[test]
fn history_and_clock_are_unknown() {
    for condition in [
        "-m limit --limit 3/min --limit-burst 10",
        "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name x",
        "-m recent --rcheck --seconds 60 --name DEFAULT --mask 255.255.255.255 --rsource",
        "-m quota --quota 1000",
        "-p tcp -m connlimit --connlimit-upto 3 --connlimit-mask 32 --connlimit-saddr",
        "-m time --timestart 01:02:03",
        "-m cpu --cpu 0",
    ] {
        let answer = holds(condition, &syn());
        assert!(answer.starts_with("match `"), "{condition}: {answer}");
    }
}

#[test]
fn deciding_targets() {
    let cases = [
        ("-j ACCEPT", Verdict::Accept),
        ("-j DROP", Verdict::Drop),
        ("-j REJECT --reject-with icmp-port-unreachable", reject(3, 3)),
        ("-j REJECT --reject-with icmp-host-prohibited", reject(3, 10)),
        ("-p tcp -j REJECT --reject-with tcp-reset", Verdict::Reject(RejectWith::TcpReset)),
    ];
    for (target, verdict) in cases {
        let (outcome, _) = applied("filter", "FORWARD", target, &syn(), &mut World::default());
        assert_eq!(outcome.verdict, verdict, "{target}");
        assert!(!outcome.is_by_policy());
    }
    let (outcome, _) = applied("filter", "FORWARD", "-j RETURN", &syn(), &mut World::default());
    assert_eq!((outcome.verdict.clone(), outcome.is_by_policy()), (Verdict::Drop, true));
    let view = tcp("::1", 1, "::2", 2, TcpFlags::SYN);
    let target = "-j REJECT --reject-with icmp6-adm-prohibited";
    let (outcome, _) = applied("filter", "FORWARD", target, &view, &mut World::default());
    assert_eq!(outcome.verdict, reject(1, 1));
}

fn reject(kind: u8, code: u8) -> Verdict {
    Verdict::Reject(RejectWith::Icmp { kind, code })
}

#[test]
fn queues() {
    let target = "-j NFQUEUE --queue-balance 3:5 --queue-bypass";
    let (outcome, _) = applied("filter", "FORWARD", target, &syn(), &mut World::default());
    assert!(matches!(outcome.verdict, Verdict::Queue(it) if (it.from, it.to, it.bypass) == (3, 5, true)));
}

#[test]
fn marks_are_cleared_and_flipped() {
    let mark = |target: &str, from: u32| {
        let view = View { mark: from, ..syn() };
        applied("mangle", "FORWARD", target, &view, &mut World::default()).1.mark
    };
    assert_eq!(mark("-j MARK --set-xmark 0x4000/0x4000", 0x1), 0x4001);
    // kube-proxy: unmark before masquerading.
    assert_eq!(mark("-j MARK --set-xmark 0x4000/0x0", 0x4001), 0x1);
    assert_eq!(mark("-j MARK --set-xmark 0x0/0xffffffff", 0x4001), 0);
}

#[test]
fn marks_are_copied_between_packet_and_connection() {
    let mut view = connected(syn(), ConnectionState::New);
    view.mark = 0xff;
    view.connection.as_mut().unwrap().mark = 0xf000;
    let marks = |target: &str| {
        let (_, view) = applied("mangle", "FORWARD", target, &view, &mut World::default());
        (view.mark, view.connection.unwrap().mark)
    };
    assert_eq!(marks("-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf"), (0xff, 0xf00f));
    assert_eq!(marks("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"), (0xf000, 0xf000));
    assert_eq!(marks("-j CONNMARK --set-xmark 0x1/0xff"), (0xff, 0xf001));
    let target = "-j CONNMARK --set-xmark 0x1/0xff";
    let (outcome, _) = applied("mangle", "FORWARD", target, &syn(), &mut World::default());
    assert_eq!(outcome.effects, [], "there is no connection to mark");
}

#[test]
fn translations() {
    let nat = |chain: &str, target: &str| {
        let (outcome, _) = applied("nat", chain, target, &syn(), &mut World::default());
        match outcome.verdict {
            Verdict::Nat(action) => action,
            other => panic!("{target}: {other:?}"),
        }
    };
    let dnat = nat("PREROUTING", "-p tcp -m tcp -j DNAT --to-destination 10.244.1.2:8080");
    assert_eq!((dnat.kind, dnat.side, dnat.ports), (NatKind::Dnat, Side::Destination, Some((8080, 8080))));
    assert_eq!(dnat.addresses, Some((address("10.244.1.2"), address("10.244.1.2"))));
    let base = nat("PREROUTING", "-p tcp -j DNAT --to-destination 1.1.1.1:1000-2000/3000");
    assert_eq!((base.ports, base.port_base), (Some((1000, 2000)), Some(3000)));
    let port = nat("OUTPUT", "-p tcp -j DNAT --to-destination :80");
    assert_eq!((port.addresses, port.ports), (None, Some((80, 80))));
    let snat = nat("POSTROUTING", "-j SNAT --to-source 1.1.1.1-1.1.1.9 --random --persistent");
    assert_eq!((snat.side, snat.random, snat.persistent), (Side::Source, true, true));
    assert_eq!(nat("POSTROUTING", "-j MASQUERADE --random-fully").kind, NatKind::Masquerade);
    assert_eq!(nat("PREROUTING", "-p tcp -j REDIRECT --to-ports 3128").ports, Some((3128, 3128)));
    let map = nat("PREROUTING", "-j NETMAP --to 192.168.7.0/24");
    assert_eq!(map.addresses.unwrap().0, address("192.168.7.2"));
    let map = nat("POSTROUTING", "-j NETMAP --to 192.168.7.0/24");
    assert_eq!((map.side, map.addresses.unwrap().0), (Side::Source, address("192.168.7.1")));
}

#[test]
fn translations_of_ipv6() {
    let view = tcp("::1", 1, "::2", 2, TcpFlags::SYN);
    for target in [
        "-p tcp -j DNAT --to-destination [dead::beef-dead::fee7]:1000-2000/1000",
        "-j DNAT --to-destination dead::beef",
        "-j NETMAP --to dead::/64",
    ] {
        let (outcome, _) = applied("nat", "PREROUTING", target, &view, &mut World::default());
        assert!(matches!(outcome.verdict, Verdict::Nat(_)), "{target}");
    }
}

#[test]
fn transparent_proxies_need_a_listener() {
    let target = "-p tcp -j TPROXY --on-port 50080 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1";
    let socket = Observed::Known(FoundSocket { transparent: true, wildcard: false, mark: 0 });
    let mut world = World { socket, ..World::default() };
    let (outcome, view) = applied("mangle", "PREROUTING", target, &syn(), &mut world);
    assert_eq!(outcome.verdict, Verdict::Tproxy { address: None, port: Some(50080) });
    assert_eq!(view.mark, 1);
    world.socket = Observed::Absent;
    let (outcome, _) = applied("mangle", "PREROUTING", target, &syn(), &mut world);
    assert_eq!(outcome.verdict, Verdict::Drop);
    world.socket = unread();
    applied("mangle", "PREROUTING", target, &syn(), &mut world);
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn rewriting_targets() {
    let after = |target: &str| applied("mangle", "FORWARD", target, &syn(), &mut World::default()).1;
    assert_eq!(after("-j TTL --ttl-set 1").header().unwrap().ttl, 1);
    assert_eq!(after("-j TTL --ttl-dec 1").header().unwrap().ttl, 63);
    assert_eq!(after("-j DSCP --set-dscp 0x2e").header().unwrap().tos, 0xb8);
    assert_eq!(after("-j TOS --set-tos 0x10/0x3f").header().unwrap().tos, 0x10);
    assert_eq!(after("-j CLASSIFY --set-class 0001:0010").priority, 0x0001_0010);
    let clamp = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1300";
    assert!(matches!(after(clamp).transport, Transport::Tcp(tcp) if tcp.mss == Some(1300)));
}

#[test]
fn targets_that_leave_the_packet_alone_are_noted() {
    for (target, effect) in [
        ("-j LOG --log-prefix \"a b\" --log-level 7", Effect::Other("LOG".to_owned())),
        ("-j NFLOG --nflog-group 1", Effect::Other("NFLOG".to_owned())),
        ("-j TEE --gateway 10.0.0.9", Effect::Duplicate { to: Some(address("10.0.0.9")), by: None }),
        ("-p tcp -m tcp -j TCPMSS --clamp-mss-to-pmtu", Effect::ClampMss(None)),
    ] {
        let (outcome, _) = applied("mangle", "FORWARD", target, &syn(), &mut World::default());
        assert_eq!(outcome.effects.len(), 1, "{target}");
        assert_eq!(outcome.effects[0].1, effect, "{target}");
        assert!(outcome.is_by_policy());
    }
}

#[test]
fn tracking_can_be_left_and_told() {
    let after = |target: &str| applied("raw", "PREROUTING", target, &syn(), &mut World::default());
    for target in ["-j CT --notrack", "-j NOTRACK"] {
        let (outcome, view) = after(target);
        assert_eq!(view.connection.unwrap().state, ConnectionState::Untracked, "{target}");
        assert_eq!(outcome.effects[0].1, Effect::NoTrack);
    }
    assert_eq!(after("-j CT --zone 7").0.effects[0].1, Effect::Zone(7));
    assert_eq!(after("-p tcp -j CT --helper ftp").0.effects[0].1, Effect::Helper("ftp".to_owned()));
}

#[test]
fn a_handshake_may_be_answered_by_the_firewall() {
    let target = "-p tcp -m tcp -j SYNPROXY --sack-perm --timestamp --wscale 9 --mss 1460";
    let verdict =
        |view: &View<'_>| applied("filter", "FORWARD", target, view, &mut World::default()).0.verdict;
    assert_eq!(verdict(&syn()), Verdict::Stolen("SYNPROXY".to_owned()));
    let reset = tcp("10.0.0.1", 1, "10.0.0.2", 80, TcpFlags::RST);
    assert_eq!(verdict(&reset), Verdict::Drop, "by the policy");
}
