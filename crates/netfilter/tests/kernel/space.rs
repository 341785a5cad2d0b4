//! Network namespaces for tests: a router between two silent neighbours.

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use hopwise_snapshot::{Netfilter, Observed, SaveTexts};
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, SockFilter, Socket, Type};

/// The command that these tests are run by.
const HOW: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=\"unshare -Urnm\" \
                   cargo test -p hopwise-netfilter --test kernel";

/// The machine's /run is hidden once.
static RUN: OnceLock<()> = OnceLock::new();

/// Puts the calling thread into a network namespace of its own, or fails with the command to run.
fn enter() {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_first = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    assert!(!is_first, "this is the first user namespace, whose network stays untouched: run {HOW}");
    unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|error| panic!("{error}: run {HOW}"));
    // The lock of the xtables tools lies below /run, which belongs to the machine.
    RUN.get_or_init(|| drop(run("mount -t tmpfs tmpfs /run")));
}

/// Runs a command line in the calling thread's network namespace and returns what it prints.
#[track_caller]
pub(crate) fn run(command: &str) -> String {
    feed(command, "")
}

/// Runs a command line with a text on its standard input.
#[track_caller]
pub(crate) fn feed(command: &str, text: &str) -> String {
    let mut words = command.split_ascii_whitespace();
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}\n{text}");
        String::from_utf8(output.stdout).unwrap()
    })
}

/// A network namespace that another thread made.
pub(crate) struct Space(File);

impl Space {
    fn new() -> Self {
        std::thread::spawn(|| {
            enter();
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        })
        .join()
        .unwrap()
    }

    /// Its name for the `ip` tool.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something inside it.
    pub(crate) fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                what()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// A router, which is the calling thread's namespace, between two hosts that never speak by themselves.
///
/// `left` has 10.1.0.0/16 and fd01::/64 behind it, `right` everything else. The router is 10.1.0.1 and
/// fd01::1 on `left`, 10.2.0.1 and fd02::1 on `right`.
pub(crate) struct Router {
    pub(crate) left: Space,
    pub(crate) right: Space,
    listeners: Vec<Socket>,
}

/// The router's addresses.
pub(crate) const OWN: [&str; 4] = ["10.1.0.1", "fd01::1", "10.2.0.1", "fd02::1"];

impl Router {
    pub(crate) fn new() -> Self {
        enter();
        let router = Self { left: Space::new(), right: Space::new(), listeners: Vec::new() };
        run("ip link set lo up");
        set("ipv6/conf/default/mldv2_unsolicited_report_interval", 3_600_000);
        for (device, space, net) in [("left", &router.left, 1), ("right", &router.right, 2)] {
            run(&format!("ip link add {device} address 02:00:00:00:0{net}:01 type veth peer name port"));
            run(&format!("ip link set port netns {}", space.path()));
            run(&format!("ip link set {device} addrgenmode none"));
            run(&format!("ip address add 10.{net}.0.1/32 dev {device}"));
            run(&format!("ip address add fd0{net}::1/128 dev {device} nodad"));
            run(&format!("ip link set {device} up"));
            space.inside(|| {
                run("ip link set lo up");
                run(&format!("ip link set port address 02:00:00:00:0{net}:02"));
                run("ip link set port addrgenmode none");
                run("ip link set port up");
                for (family, gateway) in [("-4", format!("10.{net}.0.1")), ("-6", format!("fd0{net}::1"))] {
                    run(&format!("ip neighbour add {gateway} lladdr 02:00:00:00:0{net}:01 dev port"));
                    run(&format!("ip {family} route add default via {gateway} dev port onlink"));
                }
            });
        }
        // A fixed station behind each end as well, so that nobody is ever asked for.
        for (net, device, gateway) in [
            ("10.1.0.0/16", "left", "10.1.255.254"),
            ("0.0.0.0/0", "right", "10.2.255.254"),
            ("fd01::/64", "left", "fd01::ffff"),
            ("::/0", "right", "fd02::ffff"),
        ] {
            let station = if device == "left" { "02:00:00:00:01:02" } else { "02:00:00:00:02:02" };
            run(&format!("ip neighbour add {gateway} lladdr {station} dev {device}"));
            run(&format!("ip route add {net} via {gateway} dev {device} onlink"));
        }
        for device in ["all", "left", "right"] {
            set(&format!("ipv4/conf/{device}/rp_filter"), 0);
            set(&format!("ipv4/conf/{device}/send_redirects"), 0);
        }
        set("ipv4/icmp_ratelimit", 0);
        set("ipv6/icmp/ratelimit", 0);
        for key in [
            "ipv4/icmp_echo_ignore_all",
            "ipv6/icmp/echo_ignore_all",
            "ipv4/ip_forward",
            "ipv6/conf/all/forwarding",
        ] {
            set(key, 1);
        }
        // The groups that the router joined are announced once, at once.
        std::thread::sleep(Duration::from_millis(100));
        router
    }

    /// Makes the router listen at ports, and never answer.
    pub(crate) fn listens(&mut self, ports: &[u16]) {
        for port in ports {
            for kind in [Type::STREAM, Type::DGRAM] {
                let socket = Socket::new(Domain::IPV6, kind, None).unwrap();
                // BPF_RET | BPF_K with 0: takes no byte of any packet.
                socket.attach_filter(&[SockFilter::new(6, 0, 0, 0)]).unwrap();
                socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port).into()).unwrap();
                if kind == Type::STREAM {
                    socket.listen(1).unwrap();
                }
                self.listeners.push(socket);
            }
        }
    }
}

/// Sets a value of the network namespace.
fn set(key: &str, value: u32) {
    let path = format!("/proc/sys/net/{key}");
    std::fs::write(&path, value.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Is the address behind the left device?
pub(crate) fn is_left(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..2] == [10, 1],
        IpAddr::V6(v6) => v6.segments()[0] == 0xfd01,
    }
}

/// Reads everything that the namespace has of the packet filter, as a collector would.
pub(crate) fn facts() -> Netfilter {
    let text = |command: &str| Observed::Known(run(command));
    Netfilter {
        nft: text("nft -j list ruleset"),
        iptables_nft: SaveTexts { ipv4: text("iptables-nft-save -c"), ipv6: text("ip6tables-nft-save -c") },
        iptables_legacy: SaveTexts {
            ipv4: text("iptables-legacy-save -c"),
            ipv6: text("ip6tables-legacy-save -c"),
        },
        arptables_legacy: Observed::Absent,
        ipsets: text("ipset save"),
    }
}
