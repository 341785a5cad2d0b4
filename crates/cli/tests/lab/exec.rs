//! Entering members.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::harness::{Labs, program, users};

#[test]
fn a_command_in_a_member_has_its_namespaces_and_files() {
    for user in users() {
        let labs = Labs::new(*user);
        labs.ok(&["up", "demo", "--nodes", "2"]);
        assert_eq!(labs.exec("demo", "w1", &["hostname"]), "w1\n");
        assert_eq!(labs.exec("demo", "pod/default/client-w1", &["cat", "/etc/hostname"]), "client-w1\n");
        assert_eq!(labs.exec("demo", "pod/default/client-w1", &["ls", "/sys/class/net"]), "eth0\nlo\n");
        let processes = labs.exec("demo", "w1", &["ps", "-eo", "comm="]);
        for name in ["init", "kubelet", "kube-proxy", "flanneld", "pause", "coredns"] {
            assert!(processes.lines().any(|it| it == name), "{name} in {processes}");
        }
        assert!(!processes.contains("kube-apiserver"));
        let netns = labs.exec("demo", "w1", &["ip", "netns", "list"]);
        assert_eq!(netns.lines().filter(|it| it.starts_with("cni-")).count(), 6, "{netns}");
        for tool in [
            &["iptables-nft-save"][..],
            &["ip6tables-nft-save"],
            &["nft", "list", "ruleset"],
            &["ss", "-lntup"],
            &["bridge", "fdb"],
            &["sysctl", "net.ipv4.ip_forward"],
            &["cat", "/proc/net/ip_tables_names"],
        ] {
            assert!(labs.lab(&[&["exec", "demo", "w1", "--"], tool].concat()).status.success(), "{tool:?}");
        }
        let files = labs.exec("demo", "w1", &["sh", "-c", "cat /etc/cni/net.d/10-flannel.conflist /run/flannel/subnet.env /var/lib/kubelet/config.yaml /etc/modules-load.d/k8s.conf /etc/sysctl.d/k8s.conf /etc/resolv.conf"]);
        for text in [
            "cbr0",
            "FLANNEL_SUBNET=10.244.1.1/24",
            "clusterDomain: cluster.local",
            "br_netfilter",
            "nameserver 203.0.113.53",
        ] {
            assert!(files.contains(text), "{text} in {files}");
        }
    }
}

#[test]
fn the_words_of_lab_list_enter_a_member_as_its_maker() {
    for user in users() {
        let labs = Labs::new(*user);
        labs.ok(&["up", "demo", "--nodes", "1"]);
        for member in labs.members("demo") {
            let words: Vec<&str> =
                member["enter"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
            let output =
                labs.command(words[0]).args(&words[1..]).args(["ip", "-br", "link"]).output().unwrap();
            assert!(output.status.success(), "{member}: {}", String::from_utf8_lossy(&output.stderr));
            let netns = member["netns"].as_str().unwrap();
            assert!(
                labs.command("readlink").arg(netns).output().unwrap().stdout.starts_with(b"net:["),
                "{netns}"
            );
        }
        // As typed by hand, without the process namespace.
        let node = &labs.members("demo").into_iter().find(|it| it["name"] == "cp").unwrap();
        let pid = node["pid"].to_string();
        let mut words = vec!["-t", &pid, "-m", "-n"];
        if node["enter"].as_array().unwrap().iter().any(|it| it == "-U") {
            words.extend(["-U", "--preserve-credentials"]);
        }
        for tool in [
            &["ip", "route"][..],
            &["nft", "list", "tables"],
            &["iptables", "-S"],
            &["sysctl", "net.ipv4.ip_forward"],
        ] {
            let output = labs.command("nsenter").args(&words).args(tool).output().unwrap();
            assert!(output.status.success(), "{tool:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(!output.stdout.is_empty(), "{tool:?}");
        }
    }
}

#[test]
fn input_output_and_codes_pass_through() {
    let labs = Labs::new(crate::harness::plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let mut cat = labs.command(program());
    cat.args(["lab", "exec", "demo", "fab", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut cat = cat.spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through\n").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through\n");

    labs.fails(7, &["exec", "demo", "outside", "--", "sh", "-c", "exit 7"]);
    labs.fails(128 + 9, &["exec", "demo", "outside", "--", "sh", "-c", "kill -KILL $$"]);
    let said = labs.fails(127, &["exec", "demo", "outside", "--", "no-such-program"]);
    assert!(said.contains("cannot run `no-such-program` in outside"), "{said}");
    let said = labs.fails(2, &["exec", "demo", "w5", "--", "true"]);
    assert!(
        said.contains("lab `demo` has no member `w5`; its members are cp, fab, outside, pod/default/"),
        "{said}"
    );
}

#[test]
fn signals_reach_the_command() {
    let labs = Labs::new(crate::harness::plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let mut sleep = labs.command(program());
    sleep
        .args([
            "lab",
            "exec",
            "demo",
            "cp",
            "--",
            "sh",
            "-c",
            "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
        ])
        .stdout(Stdio::piped());
    let mut child = sleep.spawn().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "got it\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
