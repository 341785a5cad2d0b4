//! What agents do.

use std::fs;

use hopwise_agent::{NodeError, Nodes};
use hopwise_change::Command;
use hopwise_snapshot::Place;
use hopwise_wire::Refusal;

use crate::harness::{FakeNode, Fakes};

const A: &str = "0f3a9a1e-7c55-4f0e-9a58-2d1f6b1c7e01";

fn command(place: Place, words: &[&str]) -> Command {
    Command::new(Some(place), words.iter().map(|it| (*it).to_owned()).collect())
}

fn said(error: &NodeError) -> String {
    Refusal::of(error).to_string()
}

#[test]
fn a_program_runs_in_the_network_of_its_place() {
    let mut w1 = FakeNode::new("w1");
    let a = w1.pod("a", A, &format!("0::/kubepods/pod{A}"));
    let nodes = Nodes::new(Fakes::to(&[&w1]), vec![w1.target()]);
    let (node, pod) = (Place::node("w1"), Place::pod("default", "a"));
    let end = nodes.run(&command(pod.clone(), &["ip", "link", "set", "dev", "eth0", "mtu", "1400"])).unwrap();
    assert_eq!((end.code, end.complaint.as_str()), (0, ""));
    assert!(a.sh("ip link show eth0").contains("mtu 1400"));
    let end = nodes.run(&command(pod.clone(), &["sysctl", "-w", "net.ipv4.ip_default_ttl=33"])).unwrap();
    assert_eq!(end.code, 0, "{}", end.complaint);
    let ttl =
        |it: &crate::harness::Namespace| it.sh("cat /proc/sys/net/ipv4/ip_default_ttl").trim().to_owned();
    assert_eq!((ttl(&a).as_str(), ttl(&w1.netns).as_str()), ("33", "64"));

    let mut rules = command(node.clone(), &["nft", "-f", "-"]);
    "table inet zz {\n\tchain c {\n\t}\n}\n".clone_into(&mut rules.input);
    let end = nodes.run(&rules).unwrap();
    assert_eq!((end.code, end.complaint.as_str()), (0, ""));
    assert!(w1.netns.sh("nft list tables").contains("inet zz"));
    assert!(!a.sh("nft list tables").contains("zz"));

    let end = nodes.run(&command(node.clone(), &["sh", "-c", "echo out; echo aside >&2; exit 3"])).unwrap();
    assert_eq!((end.code, end.output.as_str(), end.complaint.as_str()), (3, "out\n", "aside\n"));
    // A pod's own programs are not run with the node's rights, and the node's do not see its files.
    let refused = nodes.run(&command(pod, &["sh", "-c", "id"])).unwrap_err();
    assert!(said(&refused).contains("`sh` is not run for a pod"), "{}", said(&refused));
    let missing = nodes.run(&command(node.clone(), &["hopwise-no-such-program"])).unwrap_err();
    assert!(
        said(&missing).ends_with("the program `hopwise-no-such-program` was not found"),
        "{}",
        said(&missing)
    );
    let nowhere = nodes.run(&Command::new(None, vec!["kubectl".to_owned()])).unwrap_err();
    assert!(said(&nowhere).contains("is a command to the API server"));
}

#[test]
fn files_are_those_of_the_place_and_of_no_other() {
    let mut w1 = FakeNode::new("w1");
    let _a = w1.pod("a", A, &format!("0::/kubepods/pod{A}"));
    w1.expect("gone", "deadbeef-0000-4111-8222-333344445555");
    let nodes = Nodes::new(Fakes::to(&[&w1]), vec![w1.target()]);
    let (node, pod) = (Place::node("w1"), Place::pod("default", "a"));
    let of = |root: &str| fs::read_to_string(w1.root(root).join("etc/resolv.conf"));
    nodes.write_file(&pod, "/etc/resolv.conf", "nameserver 10.96.0.10\n").unwrap();
    assert_eq!(of("a").unwrap(), "nameserver 10.96.0.10\n");
    assert!(of("node").is_err() && of("none").is_err());
    nodes.write_file(&node, "/etc/resolv.conf", "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(
        (of("node").unwrap().as_str(), of("a").unwrap().as_str()),
        ("nameserver 192.0.2.1\n", "nameserver 10.96.0.10\n")
    );
    // A link out of a root stays in it.
    std::os::unix::fs::symlink("/etc/resolv.conf", w1.root("a").join("etc/link")).unwrap();
    nodes.write_file(&pod, "/etc/link", "changed\n").unwrap();
    assert_eq!(of("a").unwrap(), "changed\n");
    // Commands of changes to files come to the same.
    let (place, path, content) = (pod.clone(), "/etc/resolv.conf".to_owned(), "it's new\n".to_owned());
    let change = hopwise_change::Change::FileWritten { place, path, content };
    assert_eq!(nodes.run(&change.commands()[0]).unwrap().code, 0);
    assert_eq!(of("a").unwrap(), "it's new\n");
    nodes.remove_file(&pod, "/etc/resolv.conf").unwrap();
    assert!(of("a").is_err() && of("node").is_ok());

    let error = nodes.remove_file(&pod, "/etc/resolv.conf").unwrap_err();
    assert!(said(&error).ends_with("/etc/resolv.conf of pod/default/a: not found"), "{}", said(&error));
    let error = nodes.write_file(&pod, "etc/hosts", "").unwrap_err();
    assert!(said(&error).ends_with("expected an absolute path, found `etc/hosts`"), "{}", said(&error));
    let error = nodes.write_file(&Place::pod("default", "gone"), "/etc/hosts", "").unwrap_err();
    assert!(said(&error).contains("no process runs in its sandbox"), "{}", said(&error));
}
