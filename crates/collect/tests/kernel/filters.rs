//! Packet filters, which programs are started for them, and that nothing is changed by looking.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hopwise_collect::{Limits, NodeAccess, net_ns, node};
use hopwise_snapshot::{self as facts, Observed, Reason};
use hopwise_sys::NetNs;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::harness::{Namespace, known, require_rights};

/// Rules of every back end and family that there is.
const RULES: &str = "ip link set lo up
    iptables-nft -A FORWARD -s 10.1.0.0/16 -m comment --comment nft-rule -j DROP
    iptables-nft -t nat -A POSTROUTING -j MASQUERADE
    ip6tables-nft -A INPUT -p tcp --dport 80 -j ACCEPT
    iptables-legacy -A FORWARD -s 10.2.0.0/16 -j DROP
    iptables-legacy -t mangle -A PREROUTING -j MARK --set-mark 7
    ip6tables-legacy -A INPUT -p udp --dport 53 -j ACCEPT
    nft add table inet zz
    nft add chain inet zz in '{ type filter hook input priority 5; policy accept; }'
    nft add rule inet zz in ip saddr 10.3.0.0/16 counter drop
    nft add table bridge bb
    nft add table arp aa
    ipset create s1 hash:ip
    ipset add s1 10.4.0.1";

#[test]
fn the_filters_of_both_back_ends_are_read_in_the_words_of_their_tools() {
    let here = Namespace::with(RULES);
    let filters = here.facts().netfilter;
    assert_eq!(known(&filters.nft), &here.sh("nft -j list ruleset"));
    let nft = known(&filters.nft);
    for text in ["\"zz\"", "\"bb\"", "\"aa\"", "10.3.0.0"] {
        assert!(nft.contains(text), "{text}: {nft}");
    }
    let rules = |script: &str| {
        let printed = here.sh(script);
        printed.lines().filter(|it| !it.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let of = |text: &Observed<String>| {
        known(text).lines().filter(|it| !it.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(&filters.iptables_nft.ipv4), rules("iptables-nft-save -c"));
    assert_eq!(of(&filters.iptables_nft.ipv6), rules("ip6tables-nft-save -c"));
    assert_eq!(of(&filters.iptables_legacy.ipv4), rules("iptables-legacy-save -c"));
    assert_eq!(of(&filters.iptables_legacy.ipv6), rules("ip6tables-legacy-save -c"));
    assert!(known(&filters.iptables_nft.ipv4).contains("nft-rule"));
    assert!(known(&filters.iptables_legacy.ipv4).contains("*mangle"));
    assert_eq!(filters.arptables_legacy, Observed::Absent);
    assert_eq!(known(&filters.ipsets), &here.sh("ipset save"));
}

#[test]
fn the_text_of_the_same_rules_is_the_same_at_another_time() {
    let here = Namespace::with(RULES);
    let first = here.facts().netfilter;
    let comments = known(&first.iptables_nft.ipv4).lines().filter(|it| it.starts_with('#'));
    let comments: Vec<_> = comments.collect();
    assert!(comments[0].contains("v1."), "the version is kept: {comments:?}");
    assert!(comments.iter().all(|it| !it.contains(':')), "a time is left: {comments:?}");
    let deadline = Instant::now() + Duration::from_millis(1100);
    while Instant::now() < deadline {
        assert_eq!(here.facts().netfilter, first);
    }
}

/// What every tool says of a namespace, without the counters of time that run by themselves.
fn state(here: &Namespace) -> String {
    here.sh("ip -d link | sed 's/[a-z_]*timer *[0-9.]*//g'; ip addr; ip route show table all; ip -6 route show table all
             ip rule; ip -6 rule; ip neigh show nud all; ip neigh show proxy; ip nexthop; bridge fdb; bridge -d link
             ip netns list-id; tc qdisc; ip xfrm policy
             nft list ruleset; iptables-legacy-save -c | grep -v '^#' || true; ip6tables-legacy-save -c | grep -v '^#' || true
             cat /proc/net/ip_tables_names /proc/net/ip6_tables_names /proc/net/arp_tables_names
             ipset list; sysctl -a -r '^net' 2>/dev/null; cat /proc/net/stat/nf_conntrack; cat /proc/net/nf_conntrack
             ss -lntupa")
}

#[test]
fn looking_changes_nothing() {
    let quiet = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
        ip link add br0 type bridge mcast_snooping 0; ip link add v0 type veth peer name v1
        ip link set v0 master br0; ip link set v0 up; ip link set v1 up; ip link set br0 up
        ip addr add 10.0.0.1/24 dev br0; ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev br0";
    for script in ["true", quiet, RULES] {
        let here = Namespace::with(script);
        let before = state(&here);
        for _ in 0..3 {
            here.facts();
        }
        assert_eq!(state(&here), before, "after `{script}`");
    }
}

#[test]
fn looking_at_an_empty_namespace_makes_no_table() {
    let here = Namespace::new();
    let filters = here.facts().netfilter;
    let nothing = facts::SaveTexts { ipv4: Observed::Absent, ipv6: Observed::Absent };
    assert_eq!(filters.iptables_nft, nothing);
    assert_eq!(filters.iptables_legacy, nothing);
    assert_eq!((filters.nft, filters.ipsets), (Observed::Absent, Observed::Absent));
    assert_eq!(here.sh("nft list tables; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
}

#[test]
fn only_the_tables_that_iptables_can_own_are_asked_for_from_it() {
    let here = Namespace::with("nft add table ip mine; nft add table inet filter; nft add table ip6 nat");
    let filters = here.facts().netfilter;
    assert_eq!(filters.iptables_nft.ipv4, Observed::Absent);
    assert!(filters.iptables_nft.ipv6.known().is_some());
    assert!(filters.nft.known().is_some());
}

/// A copy of the machine's tree in which every filter program notes its call before it does its work.
///
/// The program directories are covered in a mount namespace of the calling thread, so this is for a thread
/// of its own.
///
/// Everything stands on a file system of its own in that namespace, and is only ever unmounted, never
/// removed file by file: below it lies the machine's own tree.
struct Wrapped {
    directory: PathBuf,
}

impl Wrapped {
    const PROGRAMS: [&str; 8] = [
        "nft",
        "ipset",
        "iptables-nft-save",
        "ip6tables-nft-save",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
        "arptables-legacy-save",
        "xtables-nft-multi",
    ];

    fn new(programs: &[&str]) -> Self {
        require_rights();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let bind = |from: &Path, to: &Path| {
            mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).unwrap();
        };
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let wrapped = Self { directory: tempfile::tempdir().unwrap().keep() };
        mount(Some("tmpfs"), &wrapped.directory, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        let sub = |name: &str| {
            let path = wrapped.directory.join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (root, real, wrappers, log) = (sub("root"), sub("real"), sub("wrappers"), sub("log"));
        for program in programs {
            let script = format!("#!/bin/sh\necho {program} >> /mnt/calls\nexec /media/{program} \"$@\"\n");
            fs::write(wrappers.join(program), script).unwrap();
            fs::set_permissions(wrappers.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        bind(Path::new("/usr/sbin"), &real);
        bind(Path::new("/"), &root);
        bind(&real, &root.join("media"));
        bind(&log, &root.join("mnt"));
        bind(&wrappers, &root.join("usr/sbin"));
        wrapped
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The programs that were started since the last question.
    fn calls(&self) -> Vec<String> {
        let path = self.directory.join("log/calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }

    fn access(&self, here: &Namespace) -> NodeAccess {
        NodeAccess {
            name: "w1".into(),
            netns: NetNs::open(Path::new(&here.path())).unwrap(),
            root: self.root(),
            proc: "/proc".into(),
            tools: vec![self.root()],
            pods: Vec::new(),
        }
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        let _ = umount2(&self.directory, MntFlags::MNT_DETACH);
        // Takes an empty directory only.
        let _ = fs::remove_dir(&self.directory);
    }
}

#[test]
fn an_empty_namespace_starts_no_program_and_others_only_what_they_need() {
    let wrapped = Wrapped::new(&Wrapped::PROGRAMS);
    let limits = Limits::default();
    let started = |script: &str| {
        let here = Namespace::with(script);
        let state = node(&wrapped.access(&here), &limits);
        (wrapped.calls(), state.net.netfilter)
    };
    let many_links =
        "for i in $(seq 50); do ip link add v$i type veth peer name w$i; done; ip link set lo up";
    assert_eq!(started("true").0, Vec::<String>::new());
    assert_eq!(started(many_links).0, Vec::<String>::new());
    assert_eq!(started("nft add table inet zz").0, ["nft"]);
    assert_eq!(started("ipset create s hash:ip").0, ["ipset"]);
    assert_eq!(started("iptables-nft -A INPUT -j ACCEPT").0, ["nft", "iptables-nft-save"]);
    assert_eq!(started("iptables-legacy -A INPUT -j ACCEPT").0, ["iptables-legacy-save"]);
    let (mut calls, filters) = started(RULES);
    calls.sort();
    assert_eq!(
        calls,
        [
            "ip6tables-legacy-save",
            "ip6tables-nft-save",
            "ipset",
            "iptables-legacy-save",
            "iptables-nft-save",
            "nft",
        ]
    );
    // What the wrapped programs printed, each in a root of its own, is what was read.
    assert!(known(&filters.iptables_nft.ipv4).contains("nft-rule"));
    assert!(known(&filters.ipsets).contains("10.4.0.1"));
}

#[test]
fn a_missing_program_is_named_and_the_rest_is_read() {
    // Nothing but an empty tree to find programs in, and an empty PATH would still leave /usr/sbin: cover it.
    let wrapped = Wrapped::new(&[]);
    let here = Namespace::with(RULES);
    let empty = tempfile::tempdir().unwrap();
    for directory in ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"] {
        mount(Some(empty.path()), directory, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
    let filters = net_ns(&here.ns, &[], &Limits::default()).netfilter;
    let missing = |program: &str| Observed::NotCollected(Reason::ProgramMissing(program.to_owned()));
    assert_eq!(filters.nft, missing("nft"));
    assert_eq!(filters.iptables_nft.ipv4, missing("iptables-nft-save"));
    assert_eq!(filters.iptables_nft.ipv6, missing("ip6tables-nft-save"));
    assert_eq!(filters.iptables_legacy.ipv4, missing("iptables-legacy-save"));
    assert_eq!(filters.ipsets, missing("ipset"));
    assert_eq!(filters.arptables_legacy, Observed::Absent);
    drop(wrapped);
}

#[test]
fn a_program_that_hangs_costs_its_time_and_no_more() {
    let wrapped = Wrapped::new(&[]);
    let nft = wrapped.directory.join("wrappers/nft");
    fs::write(&nft, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&nft, fs::Permissions::from_mode(0o755)).unwrap();
    let here = Namespace::with("nft add table inet zz");
    let mut limits = Limits::default();
    limits.program.timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let state = node(&wrapped.access(&here), &limits);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(state.net.netfilter.nft, Observed::NotCollected(Reason::TimedOut));
    assert!(state.net.links.known().is_some());
}

#[test]
fn where_the_tools_of_a_node_fail_its_own_are_asked() {
    let wrapped = Wrapped::new(&[]);
    let write = |name: &str, script: &str| {
        let path = wrapped.directory.join("wrappers").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("nft", "#!/bin/sh\necho too old >&2; exit 1\n");
    write("ipset", "#!/no/such/interpreter\n");
    let here = Namespace::with("nft add table inet zz; ipset create s hash:ip");
    let filters = node(&wrapped.access(&here), &Limits::default()).net.netfilter;
    assert_eq!(known(&filters.nft), &here.sh("nft -j list ruleset"));
    assert_eq!(known(&filters.ipsets), &here.sh("ipset save"));
}

#[test]
fn a_namespace_has_a_deadline() {
    let here = Namespace::with("ip link set lo up; nft add table inet zz");
    let limits = Limits { namespace: Duration::ZERO, ..Limits::default() };
    let facts = net_ns(&here.ns, &[], &limits);
    assert_eq!(facts.links, Observed::NotCollected(Reason::TimedOut));
    assert_eq!(facts.sysctls, Observed::NotCollected(Reason::TimedOut));
    assert_eq!(facts.netfilter.nft, Observed::NotCollected(Reason::TimedOut));
    assert!(facts.inode.known().is_some());
}

#[test]
fn an_answer_beyond_the_limit_says_so() {
    let here = Namespace::with("for i in $(seq 50); do ip link add v$i type veth peer name w$i; done");
    let mut limits = Limits::default();
    limits.netlink.bytes = 20_000;
    let facts = net_ns(&here.ns, &[], &limits);
    assert_eq!(facts.links, Observed::NotCollected(Reason::TooLarge { limit: 20_000 }));
    assert!(facts.rules.known().is_some());
    let limits = Limits { sysctls: 100, ..Limits::default() };
    let facts = net_ns(&here.ns, &[], &limits);
    assert_eq!(facts.sysctls, Observed::NotCollected(Reason::TooLarge { limit: 100 }));
    assert_eq!(facts.conntrack.count, Observed::NotCollected(Reason::TooLarge { limit: 100 }));
}
