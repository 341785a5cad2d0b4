//! Faults break what they should, and are taken back.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Labs, lost, plain_user, users};

/// The names of all causes that the lab says it knows.
fn causes(labs: &Labs) -> Vec<String> {
    let said = labs.fails(2, &["inject", "demo", "no-such-cause"]);
    let (_, names) = said.split_once("it knows ").unwrap();
    names.split(", ").filter(|it| !it.contains("COMMAND")).map(str::to_owned).collect()
}

#[test]
fn every_cause_changes_the_truth_and_is_taken_back() {
    for (user, base) in users().iter().zip(["vxlan", "dual-stack"]) {
        let labs = Labs::new(*user);
        labs.ok(&["up", "demo", "--base", base]);
        let causes = causes(&labs);
        assert_eq!(causes.len(), 15, "{causes:?}");
        for cause in &causes {
            labs.ok(&["inject", "demo", cause]);
            let broken = lost(&labs.truth("demo", &[]));
            // It breaks nothing before the next boot.
            let is_latent = cause == "node-sysctl-drift";
            assert_eq!(broken.is_empty(), is_latent, "{cause} as {user:?}, {base}");
            labs.ok(&["heal", "demo"]);
            assert_eq!(
                lost(&labs.truth("demo", &[])),
                Vec::<String>::new(),
                "after {cause} as {user:?}, {base}"
            );
        }
    }
}

/// Who does not reach whom, as places.
fn broken_places(truth: &[Value]) -> BTreeSet<(String, String)> {
    let place = |it: &Value| it.as_str().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
    truth
        .iter()
        .filter(|it| it["reached"] == false)
        .map(|it| (place(&it["from"]), place(&it["to"])))
        .collect()
}

#[test]
fn causes_break_what_the_catalogue_says() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    let broken = |fault: &str| {
        labs.ok(&["inject", "demo", fault]);
        let broken = broken_places(&labs.truth("demo", &["icmp"]));
        labs.ok(&["heal", "demo"]);
        broken
    };
    let has = |broken: &BTreeSet<(String, String)>, from: &str, to: &str| {
        broken.contains(&(from.to_owned(), to.to_owned()))
    };

    // Pods of the node still talk to each other by their bridge.
    let forward = broken("node-ip-forward-off@w1");
    assert!(has(&forward, "pod/default/client-w1", "pod/default/echo-w2"));
    assert!(has(&forward, "pod/default/client-w2", "pod/default/echo-w1"));
    assert!(!has(&forward, "pod/default/client-w1", "pod/default/echo-w1"));
    assert!(!has(&forward, "pod/default/client-w2", "pod/default/echo-cp"));

    let route = broken("node-route-missing@w2");
    assert!(has(&route, "pod/default/client-w2", "pod/default/echo-w1"));
    assert!(!has(&route, "pod/default/client-w2", "pod/default/echo-cp"));

    let veth = broken("veth-detached@w1");
    let concerned = |(from, to): &(String, String)| from.ends_with("echo-w1") || to.ends_with("echo-w1");
    assert!(veth.iter().all(concerned), "{veth:?}");

    let udp = broken("overlay-udp-blocked@cp");
    assert!(udp.iter().all(|(from, to)| from.contains("cp") || to.contains("cp")), "{udp:?}");
    assert!(!has(&udp, "node/w1", "node/cp"));

    // Small packets pass, full ones do not.
    labs.ok(&["inject", "demo", "mtu-pod-too-large@w1"]);
    let truth = labs.truth("demo", &["icmp", "tcp"]);
    labs.ok(&["heal", "demo"]);
    let lost: Vec<&Value> = truth.iter().filter(|it| it["reached"] == false).collect();
    assert!(!lost.is_empty());
    for pair in lost {
        assert_eq!(pair["size"], 1500, "{pair}");
    }
}

#[test]
fn words_for_any_member_are_done_and_taken_back() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    let faults = [
        "w2: sysctl net.ipv4.ip_forward=0",
        "w1: ip route del 10.244.2.0/24",
        "w1: nft add table inet zz",
        "w1: nft add chain inet zz in '{ type filter hook input priority 0; policy accept; }'",
        "w1: nft add rule inet zz in udp dport 8472 drop",
        "w2: iptables -A FORWARD -j REJECT",
        "pod/default/client-w1: ip link set eth0 down",
        "pod/shop/cart-w2: ip link set lo down",
        "w2: write /etc/resolv.conf \"\"",
        "w1: rm /etc/sysctl.d/k8s.conf",
        "cp: ip link del cni0",
        "cp: ip rule add pref 50 prohibit",
        "fab: nft add table bridge sg",
        "outside: ip addr del 203.0.113.10/32 dev lo",
        "w1: pkill kubelet",
        "pod/default/echo-w2: pkill echo",
    ];
    let files = |member: &str| {
        labs.exec(
            "demo",
            member,
            &["sh", "-c", "md5sum $(find /etc /run -path /run/netns -prune -o -type f -print | sort)"],
        )
    };
    let before = (files("w1"), files("w2"));
    for fault in faults {
        labs.ok(&["inject", "demo", fault]);
    }
    assert!(!lost(&labs.truth("demo", &[])).is_empty());
    assert_eq!(labs.exec("demo", "w2", &["cat", "/etc/resolv.conf"]), "");

    let healed = labs.ok(&["heal", "demo"]);
    assert_eq!(healed.lines().count(), faults.len());
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
    assert_eq!((files("w1"), files("w2")), before);
    assert!(!labs.exec("demo", "w1", &["nft", "list", "tables"]).contains("zz"));
    for family in ["-4", "-6"] {
        let rules = |member| labs.exec("demo", member, &["ip", "-d", family, "rule"]);
        assert_eq!(rules("cp"), rules("w2"), "as on a node whose rules nobody touched");
    }
    // Nothing is left to take back.
    assert_eq!(labs.ok(&["heal", "demo"]), "");
}

#[test]
fn several_faults_at_once_are_taken_back_at_once() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    let both = ["node-ip-forward-off@w1", "node-iface-forwarding-off@w1", "node-resolvconf-empty@w2"];
    labs.ok(&[&["inject", "demo"], both.as_slice()].concat());
    let forwarding = |interface: &str| {
        let key = format!("net.ipv4.conf.{interface}.forwarding");
        labs.exec("demo", "w1", &["sysctl", "-n", &key]).trim().to_owned()
    };
    assert_eq!(forwarding("cni0"), "0");
    labs.ok(&["heal", "demo"]);
    for interface in ["all", "default", "eth0", "cni0", "flannel/1"] {
        assert_eq!(forwarding(interface), "1", "{interface}");
    }
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}

#[test]
fn a_fault_that_is_none_says_what_was_expected() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    for (fault, expected) in [
        ("bridge-down@w7", "`w7` is no node of this lab; it has cp"),
        ("overlay-fdb-stale", "overlay-fdb-stale needs a second node"),
        ("w9: true", "lab `demo` has no member `w9`"),
        ("cp: false", "`false` in cp failed: exit status: 1"),
        ("cp: no-such-program", "`no-such-program` in cp failed"),
        ("cp: sysctl net.ipv4.nothing=1", "cannot read /proc/sys/net/ipv4/nothing"),
    ] {
        let said = labs.fails(2, &["inject", "demo", fault]);
        assert!(said.contains(expected), "{fault}: {said}");
    }
    labs.ok(&["heal", "demo"]);
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}
