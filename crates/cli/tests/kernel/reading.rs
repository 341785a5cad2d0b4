//! What agents read.

use std::{collections::BTreeMap, fs, sync::Mutex};

use hopwise_agent::{Step, collect_all};
use hopwise_collect::Limits;
use hopwise_snapshot::{FileContent, LinkStatistics, NetNs, Observed, Place, PodName, Reason};

use crate::harness::{FakeNode, Fakes, known};

const A: &str = "0f3a9a1e-7c55-4f0e-9a58-2d1f6b1c7e01";
const B: &str = "1c2d3e4f-0000-4111-8222-333344445555";
const GONE: &str = "deadbeef-0000-4111-8222-333344445555";

#[test]
fn nodes_and_pods_are_read_and_one_that_fails_stops_no_other() {
    let mut w1 = FakeNode::new("w1");
    let _a = w1.pod("a", A, &format!("4:memory:/kubepods/burstable/pod{A}"));
    w1.expect("gone", GONE);
    fs::write(w1.root("node").join("etc/hosts"), "token=abc\n").unwrap();
    fs::write(w1.root("a").join("etc/resolv.conf"), "nameserver 10.96.0.10\n").unwrap();
    fs::write(w1.root("none").join("etc/resolv.conf"), "the sandbox's own\n").unwrap();
    let mut w2 = FakeNode::new("w2");
    let slice = B.replace('-', "_");
    let _b = w2.pod("b", B, &format!("0::/../kubepods-burstable-pod{slice}.slice"));
    let mut lost = w1.target();
    (lost.name, lost.hosts) = ("w3".into(), vec!["w3".to_owned()]);
    lost.pods[0].name = PodName::new("default", "on-w3");
    lost.pods.truncate(1);

    let steps = Mutex::new(Vec::new());
    let targets = vec![w1.target(), w2.target(), lost];
    let (_nodes, collected) =
        collect_all(Fakes::to(&[&w1, &w2]), targets, &Limits::default(), &|node, step| {
            steps.lock().unwrap().push((node.to_string(), step));
        });

    let pod = |name: &str| &collected.pods[&PodName::new("default", name)];
    let node = known(&collected.nodes[&"w1".into()]);
    let a = known(pod("a"));
    let va = node.net.link("va").unwrap();
    assert_eq!(known(&node.net.namespaces)[&va.lower_nsid.unwrap()], Place::pod("default", "a"));
    assert_eq!(known(&node.net.inode), &w1.netns.0.inode());
    assert!(a.net.link("eth0").is_some() && a.net.link("va").is_none());
    assert_eq!(a.node.as_str(), "w1");
    let text = |file: &hopwise_snapshot::File| file.content.clone();
    let resolver = FileContent::Text("nameserver 10.96.0.10\n".to_owned());
    assert_eq!(
        text(known(&a.files["/etc/resolv.conf"])),
        resolver,
        "the first container's, not the sandbox's"
    );
    assert_eq!(known(&node.files["/etc/hosts"]).n_redacted, 1, "secrets are cut out on the node");
    assert_eq!(known(&a.processes).len(), 2);
    assert!(known(pod("b")).net.link("eth0").is_some());

    let gone = Reason::Failed(format!("no process runs in its sandbox (uid {GONE})"));
    assert_eq!(*pod("gone"), Observed::NotCollected(gone));
    let Observed::NotCollected(why) = &collected.nodes[&"w3".into()] else { panic!("w3 was read") };
    assert!(why.to_string().starts_with("no machine is known as w3"), "{why}");
    assert_eq!(*pod("on-w3"), Observed::NotCollected(why.clone()));
    assert_eq!((collected.nodes.len(), collected.pods.len()), (3, 4));

    let steps = steps.into_inner().unwrap();
    let mut last = BTreeMap::new();
    for (node, step) in &steps {
        if let Step::Reading(n_done, n_places) = step {
            assert!(n_done <= n_places);
        }
        last.insert(node.as_str(), step);
    }
    assert_eq!((last["w1"], last["w2"]), (&Step::Read, &Step::Read));
    assert!(matches!(last["w3"], Step::Failed(_)));
    assert!(steps.contains(&("w1".to_owned(), Step::Reading(2, 2))));
}

#[test]
fn what_an_agent_reads_is_what_is_read_without_one() {
    let mut w1 = FakeNode::new("w1");
    let a = w1.pod("a", A, &format!("0::/kubepods/pod{A}"));
    a.sh("ip addr add 10.244.1.2/24 dev eth0; ip route add default via 10.244.1.1; nft add table inet zz");
    let (_nodes, collected) =
        collect_all(Fakes::to(&[&w1]), vec![w1.target()], &Limits::default(), &|_, _| ());
    let there = known(&collected.pods[&PodName::new("default", "a")]);
    let here = hopwise_collect::net_ns(&a.0, &[], &Limits::default());
    // The kernel sends a packet of its own now and then, and counts it.
    let uncounted = |net: &NetNs| {
        let mut links = known(&net.links).clone();
        for link in &mut links {
            link.statistics = LinkStatistics::default();
        }
        links
    };
    assert_eq!(uncounted(&there.net), uncounted(&here));
    assert_eq!(there.net.routes, here.routes);
    assert_eq!(there.net.rules, here.rules);
    assert_eq!(there.net.netfilter, here.netfilter);
}

#[test]
fn a_pod_that_was_made_anew_is_found_by_what_it_is_called_now() {
    let mut w1 = FakeNode::new("w1");
    let _a = w1.pod("a", A, &format!("0::/kubepods/pod{A}"));
    let (mut nodes, collected) =
        collect_all(Fakes::to(&[&w1]), vec![w1.target()], &Limits::default(), &|_, _| ());
    let name = PodName::new("default", "a");
    let before = known(&known(&collected.pods[&name]).net.inode).to_owned();
    w1.pods.clear();
    w1.netns.sh("ip link del va");
    let again = w1.pod("a", B, &format!("0::/kubepods/pod{B}"));
    nodes.set_targets(vec![w1.target()]);
    let collected = nodes.collect(&Limits::default(), &|_, _| ());
    let after = known(&known(&collected.pods[&name]).net.inode).to_owned();
    assert_ne!(after, before);
    assert_eq!(after, again.0.inode());
}
