//! Controllers and CoreDNS, as they behave when things change.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Labs, lost, plain_user};

#[test]
fn kube_proxy_writes_its_rules_when_it_starts_and_leaves_others_alone() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--nodes", "2"]);
    let save = || {
        let text = labs.exec("demo", "w1", &["iptables-nft-save"]);
        text.lines()
            .filter(|it| !it.starts_with('#') && !it.starts_with(':'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = save();
    labs.exec("demo", "w1", &["sh", "-c", "iptables -t nat -F; iptables -N MINE; iptables -A MINE -j ACCEPT; iptables -A FORWARD -s 192.0.2.1 -j MINE"]);
    thread::sleep(Duration::from_millis(200));
    assert!(!save().iter().any(|it| it.contains("KUBE-SVC-")), "nobody writes rules anew by himself");

    labs.ok(&["sync", "demo", "kube-proxy@w1", "flannel@w1"]);
    let mut after = save();
    assert!(after.iter().any(|it| it == "-A MINE -j ACCEPT"));
    after.retain(|it| !it.contains("MINE"));
    let sorted = |mut it: Vec<String>| {
        it.sort();
        it
    };
    assert_eq!(sorted(after), sorted(before));
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}

#[test]
fn flannel_puts_its_devices_right_when_it_starts() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--base", "dual-stack", "--nodes", "2"]);
    for damage in [
        "ip link del flannel.1; ip link del flannel-v6.1",
        "ip route del 10.244.0.0/24; ip neigh flush dev flannel.1 nud permanent",
        "bridge fdb show dev flannel.1 | while read mac rest; do bridge fdb del $mac dev flannel.1; done",
        "rm /run/flannel/subnet.env; iptables -t nat -F FLANNEL-POSTRTG",
    ] {
        labs.exec("demo", "w1", &["sh", "-c", damage]);
        labs.ok(&["sync", "demo", "flannel@w1"]);
        assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new(), "{damage}");
    }
    assert!(
        labs.exec("demo", "w1", &["cat", "/run/flannel/subnet.env"])
            .contains("FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64")
    );
}

fn pod(labs: &Labs, name: &str) -> Value {
    let pods = labs.objects("demo", "pods");
    pods.into_iter().find(|it| it["metadata"]["name"] == name).unwrap()
}

/// Whether the pod is ready: by its object first, then by every endpoint of a slice that names it.
fn readiness(labs: &Labs, name: &str) -> Vec<bool> {
    let object = pod(labs, name);
    let condition =
        object["status"]["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Ready").unwrap();
    let mut all = vec![condition["status"] == "True"];
    for slice in labs.objects("demo", "endpointslices") {
        for endpoint in slice["endpoints"].as_array().unwrap() {
            if endpoint["targetRef"]["name"] == name {
                all.push(endpoint["conditions"]["ready"] == true);
            }
        }
    }
    all
}

/// Is the pod ready, by its object and by all slices that name it? For a lab in which nothing happens meanwhile.
fn is_ready(labs: &Labs, name: &str) -> bool {
    let all = readiness(labs, name);
    assert!(all.iter().all(|it| *it == all[0]), "{name}: the object, then its endpoints: {all:?}");
    all[0]
}

/// Waits until something is so that the lab does by itself: its watchers follow one after the other.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < limit, "not within 60 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the pod's object and all slices that name it say that it is ready, or that it is not.
fn wait_until_ready(labs: &Labs, name: &str, ready: bool) {
    wait_until(&format!("{name} ready: {ready}"), || readiness(labs, name).iter().all(|it| *it == ready));
}

#[test]
fn coredns_without_a_nameserver_crashes_and_everybody_knows() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    assert!(is_ready(&labs, "coredns-b"));
    // It keeps the copy that it has: nothing happens before it starts anew.
    labs.ok(&["inject", "demo", "w2: write /etc/resolv.conf \"\""]);
    assert_eq!(lost(&labs.truth("demo", &["pod/kube-system/coredns-b", "dns"])).len(), 1, "the node itself");

    labs.ok(&["sync", "demo", "pod/kube-system/coredns-b"]);
    assert!(!is_ready(&labs, "coredns-b"));
    let status = &pod(&labs, "coredns-b")["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    let log =
        labs.exec("demo", "w2", &["sh", "-c", "cat /var/log/pods/kube-system_coredns-b_*/coredns/*.log"]);
    assert!(log.trim_end().ends_with("stdout F plugin/forward: no nameservers found"), "{log}");
    // kube-proxy follows: the Service works by the other pod alone, in the cluster's names and outside.
    let services = labs.truth("demo", &["svc/kube-system/kube-dns"]);
    assert_eq!(lost(&services), Vec::<String>::new());
    assert!(services.iter().all(|it| it["answeredBy"] == "pod/kube-system/coredns-a"));

    labs.exec("demo", "w2", &["sh", "-c", "echo nameserver 203.0.113.53 > /etc/resolv.conf"]);
    labs.ok(&["sync", "demo", "pod/kube-system/coredns-b"]);
    assert!(is_ready(&labs, "coredns-b"));
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}

#[test]
fn coredns_that_asks_itself_ends_with_the_words_of_its_plugin() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo"]);
    // As on a node with systemd-resolved, whose stub is not in the pod.
    labs.ok(&["inject", "demo", "w1: write /etc/resolv.conf \"nameserver 127.0.0.53\""]);
    labs.ok(&["sync", "demo", "pod/kube-system/coredns-a"]);
    wait_until_ready(&labs, "coredns-a", false);
    let log =
        labs.exec("demo", "w1", &["sh", "-c", "cat /var/log/pods/kube-system_coredns-a_*/coredns/0.log"]);
    assert!(log.contains("[FATAL] plugin/loop: Loop (127.0.0.1:"), "{log}");
    assert!(log.contains("-> :53) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO "), "{log}");
    labs.ok(&["heal", "demo"]);
    assert!(is_ready(&labs, "coredns-a"));
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}

#[test]
fn a_pod_that_is_replaced_keeps_its_address_and_gets_everything_else_anew() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let member = "pod/default/echo-cp";
    let namespace = || labs.exec("demo", member, &["readlink", "/proc/self/ns/net"]);
    let address = || labs.exec("demo", member, &["ip", "-br", "-4", "addr", "show", "eth0"]);
    let before = (namespace(), address());
    labs.exec("demo", member, &["sh", "-c", "ip route flush table main; echo broken > /etc/resolv.conf"]);
    labs.ok(&["sync", "demo", member]);
    assert_ne!(namespace(), before.0);
    let words = |it: &str| it.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&address()), words(&before.1));
    assert!(labs.exec("demo", member, &["cat", "/etc/resolv.conf"]).starts_with("search default.svc."));
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
    assert!(is_ready(&labs, "echo-cp"));
}

#[test]
fn a_container_that_is_killed_comes_back() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    labs.exec("demo", "pod/default/echo-cp", &["pkill", "-KILL", "echo"]);
    wait_until_ready(&labs, "echo-cp", false);
    let backend = format!("{}:8080", pod(&labs, "echo-cp")["status"]["podIP"].as_str().unwrap());
    // kubelet leaves it ended for 10 s.
    wait_until("kube-proxy gives nobody to a pod that is not ready", || {
        !labs.exec("demo", "cp", &["iptables-nft-save", "-t", "nat"]).contains(&backend)
    });
    wait_until_ready(&labs, "echo-cp", true);
    wait_until("kube-proxy gives clients to the pod again", || {
        labs.exec("demo", "cp", &["iptables-nft-save", "-t", "nat"]).contains(&backend)
    });
    assert_eq!(pod(&labs, "echo-cp")["status"]["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}

#[test]
fn a_pod_whose_sandbox_is_killed_is_made_anew() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let before = labs.members("demo");
    let kill_one = "kill -KILL $(ps -eo pid,comm | awk '$2 == \"pause\" {last = $1} END {print last}')";
    labs.exec("demo", "cp", &["sh", "-c", kill_one]);
    // `lab list` shows the new number when the pod is whole again.
    wait_until("kubelet made the sandbox anew", || labs.members("demo") != before);
    let changed: Vec<Value> = labs
        .members("demo")
        .into_iter()
        .filter(|it| !before.contains(it))
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(changed, ["pod/shop/cart-cp-b"]);
    assert_eq!(lost(&labs.truth("demo", &[])), Vec::<String>::new());
}
