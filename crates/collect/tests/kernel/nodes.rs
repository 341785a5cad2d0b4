//! Nodes with pods: who is behind a link, processes, files, rights, time.

use std::{
    collections::BTreeSet,
    env, fs,
    net::{Ipv4Addr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Mutex,
    time::{Duration, Instant},
};

use hopwise_collect::{Limits, NodeAccess, PodAccess, Progress, collect, net_ns, node, pod};
use hopwise_snapshot::{FileContent, Observed, Place, PodName, Reason};
use hopwise_sys::NetNs;
use nix::mount::{MsFlags, mount, umount};

use crate::harness::{Namespace, known};

fn open(namespace: &Namespace) -> NetNs {
    NetNs::open(Path::new(&namespace.path())).unwrap()
}

/// A directory with the files that a node or a pod may have.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

#[test]
fn a_cluster_of_namespaces_is_read_with_the_places_behind_its_links() {
    let (w1, w2, fabric, a, b) =
        (Namespace::new(), Namespace::new(), Namespace::new(), Namespace::new(), Namespace::new());
    fabric.sh(&format!(
        "ip link add u1 type veth peer name eth0 netns {}; ip link add u2 type veth peer name eth0 netns {}",
        w1.path(),
        w2.path()
    ));
    w1.sh(&format!("ip link add va type veth peer name eth0 netns {}", a.path()));
    w1.sh(&format!("ip link add direct type veth peer name direct netns {}", w2.path()));
    w2.sh(&format!("ip link add vb type veth peer name eth0 netns {}", b.path()));
    let etc = tree(&[("etc/resolv.conf", "nameserver 10.96.0.10\n"), ("etc/hosts", "token=abc\n")]);
    let pod_access = |name: &str, ns: &Namespace| PodAccess {
        name: PodName::new("default", name),
        netns: open(ns),
        root: Some(etc.path().to_owned()),
    };
    let node_access = |name: &str, ns: &Namespace, pods| NodeAccess {
        name: name.into(),
        netns: open(ns),
        root: etc.path().to_owned(),
        proc: "/proc".into(),
        tools: Vec::new(),
        pods,
    };
    let nodes = [
        node_access("w1", &w1, vec![pod_access("a", &a)]),
        node_access("w2", &w2, vec![pod_access("b", &b)]),
    ];
    let seen = Mutex::new(Vec::new());
    let collected = collect(&nodes, &Limits::default(), &|it: Progress| seen.lock().unwrap().push(it));

    let seen = seen.into_inner().unwrap();
    let numbers: BTreeSet<_> = seen.iter().map(|it| (it.n_done, it.n_places)).collect();
    assert_eq!(numbers, (1..=4).map(|it| (it, 4)).collect());
    assert_eq!(seen.iter().map(|it| it.place.clone()).collect::<BTreeSet<_>>().len(), 4);

    let node = |name: &str| known(&collected.nodes[&name.into()]);
    let pod = |name: &str| known(&collected.pods[&PodName::new("default", name)]);
    let behind = |net: &hopwise_snapshot::NetNs, link: &str| {
        let link = net.link(link).unwrap();
        known(&net.namespaces).get(&link.lower_nsid.unwrap()).cloned()
    };
    assert_eq!(behind(&node("w1").net, "va"), Some(Place::pod("default", "a")));
    assert_eq!(behind(&node("w1").net, "direct"), Some(Place::node("w2")));
    assert_eq!(behind(&node("w1").net, "eth0"), None, "the fabric is no place of the cluster");
    assert_eq!(behind(&node("w2").net, "direct"), Some(Place::node("w1")));
    assert_eq!(behind(&pod("a").net, "eth0"), Some(Place::node("w1")));
    assert_eq!(behind(&pod("b").net, "eth0"), Some(Place::node("w2")));
    let eth0 = pod("a").net.link("eth0").unwrap();
    assert_eq!(eth0.lower, Some(node("w1").net.link("va").unwrap().index));
    assert_eq!(pod("b").node.as_str(), "w2");
    assert_eq!(known(&node("w1").net.inode), &nodes[0].netns.inode());

    let resolv = known(&pod("a").files["/etc/resolv.conf"]);
    assert_eq!(resolv.content, FileContent::Text("nameserver 10.96.0.10\n".to_owned()));
    assert_eq!(pod("a").files["/etc/nsswitch.conf"], Observed::Absent);
    assert_eq!(known(&node("w1").files["/etc/hosts"]).n_redacted, 1);
    assert_eq!(node("w1").kernel.known().map(String::as_str), Some(w1.sh("uname -r").trim()));

    let mut snapshot = hopwise_snapshot::Snapshot::new("2026-11-21T10:00:00Z".parse().unwrap(), "test");
    collected.add_to(&mut snapshot);
    assert_eq!(snapshot.places().count(), 4);
    let bytes = hopwise_snapshot::hop::write(&snapshot);
    assert_eq!(hopwise_snapshot::hop::read(&bytes).unwrap(), snapshot);
}

/// A node with processes of its own: a process namespace with its process file system.
struct Processes {
    outer: Child,
    directory: tempfile::TempDir,
}

impl Processes {
    /// In `node` a shell, and in `pod` a program with a name that is hard to read. The program holds a
    /// listening socket of each; the shell too, and it was there first.
    fn new(node: &Namespace, pod: &Namespace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("echo server)");
        fs::copy("/bin/sleep", &program).unwrap();
        let netns = directory.path().join("netns");
        fs::write(&netns, "").unwrap();
        mount(Some(Path::new(&pod.path())), &netns, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let listen = || OwnedFd::from(TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).unwrap());
        let (of_node, of_pod) = (node.ns.run(listen).unwrap(), pod.ns.run(listen).unwrap());
        let script = format!("nsenter --net='{}' '{}' 1000 <&0 & wait", netns.display(), program.display());
        let start = || {
            Command::new("unshare")
                .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script])
                .stdin(of_node)
                .stdout(of_pod)
                .spawn()
                .unwrap()
        };
        let outer = node.ns.run(start).unwrap();
        let processes = Self { outer, directory };
        processes.wait();
        processes
    }

    /// Waits until everything runs and sleeps.
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let is_asleep = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|it| it.starts_with(" S"))
        };
        let is_server = |pid: u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "echo server)"
        };
        let is_ready = || {
            let shell = self.shell()?;
            let server = Self::child_of(shell)?;
            (is_asleep(shell) && is_asleep(server) && is_server(server)).then_some(())
        };
        while is_ready().is_none() {
            assert!(Instant::now() < deadline, "the programs did not start");
        }
    }

    fn child_of(pid: u32) -> Option<u32> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_ascii_whitespace().next()?.parse().ok()
    }

    fn shell(&self) -> Option<u32> {
        Self::child_of(self.outer.id())
    }

    fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.shell().unwrap()).into()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
        let _ = umount(&self.directory.path().join("netns"));
    }
}

#[test]
fn processes_and_the_holders_of_sockets_are_found_by_namespace() {
    let (w1, a) = (Namespace::with("ip link set lo up"), Namespace::with("ip link set lo up"));
    let processes = Processes::new(&w1, &a);
    let access = NodeAccess {
        name: "w1".into(),
        netns: open(&w1),
        root: processes.root(),
        proc: processes.root().join("proc"),
        tools: Vec::new(),
        pods: vec![PodAccess { name: PodName::new("default", "a"), netns: open(&a), root: None }],
    };
    let collected = collect(std::slice::from_ref(&access), &Limits::default(), &|_| ());
    let node = known(&collected.nodes[&"w1".into()]);
    let pod_a = known(&collected.pods[&PodName::new("default", "a")]);
    let shell = hopwise_snapshot::Process { pid: 1, program: "sh".to_owned(), state: "S".to_owned() };
    assert_eq!(known(&node.processes), &[shell]);
    let server = &known(&pod_a.processes)[0];
    assert_eq!((server.program.as_str(), server.state.as_str()), ("echo server)", "S"));
    assert_eq!(known(&pod_a.processes).len(), 1);
    let holder = |net: &hopwise_snapshot::NetNs| known(&net.sockets)[0].program.clone();
    assert_eq!(holder(&node.net).as_deref(), Some("sh"));
    assert_eq!(holder(&pod_a.net).as_deref(), Some("echo server)"));
    // The same, one place at a time.
    let alone = pod(&access.pods[0], &access, &Limits::default());
    assert_eq!((&alone.processes, &alone.net.sockets), (&pod_a.processes, &pod_a.net.sockets));
    assert!(alone.files["/etc/hosts"].is_not_collected(), "it has no root");
    assert!(node.files["/etc/hosts"].known().is_some());
}

#[test]
fn a_list_of_processes_that_may_lack_one_is_none() {
    let here = Namespace::new();
    let access = NodeAccess {
        name: "w1".into(),
        netns: open(&here),
        root: "/".into(),
        // The machine's processes, into which root of a user namespace may not look.
        proc: "/proc".into(),
        tools: Vec::new(),
        pods: Vec::new(),
    };
    let missing = Reason::NotPermitted("CAP_SYS_PTRACE over the node's processes".to_owned());
    assert_eq!(node(&access, &Limits::default()).processes, Observed::NotCollected(missing));
}

/// The variable that tells the test below that it is the process without rights.
const WITHOUT_RIGHTS: &str = "HOPWISE_TEST_WITHOUT_RIGHTS";

#[test]
fn without_rights_the_right_that_is_missing_is_named() {
    if let Some(namespace) = env::var_os(WITHOUT_RIGHTS) {
        return check_without_rights(Path::new(&namespace));
    }
    let here = Namespace::with("ip link set lo up; nft add table inet zz");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("netns");
    fs::write(&file, "").unwrap();
    mount(Some(Path::new(&here.path())), &file, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    // This test again, in a process without a single capability.
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "nodes::without_rights_the_right_that_is_missing_is_named"])
        .env(WITHOUT_RIGHTS, &file)
        .output()
        .unwrap();
    umount(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn check_without_rights(namespace: &Path) {
    let limits = Limits::default();
    let other = net_ns(&NetNs::open(namespace).unwrap(), &[], &limits);
    let entering = Reason::NotPermitted("CAP_SYS_ADMIN in the namespace".to_owned());
    assert_eq!(other.links, Observed::NotCollected(entering.clone()));
    assert_eq!(other.netfilter.nft, Observed::NotCollected(entering.clone()));
    assert_eq!(other.sysctls, Observed::NotCollected(entering));
    assert!(other.inode.known().is_some());

    // In its own namespace anyone may read what needs no administrator.
    let own = net_ns(&NetNs::current().unwrap(), &[], &limits);
    let administering = || Reason::NotPermitted("CAP_NET_ADMIN in the namespace".to_owned());
    assert_eq!(own.netfilter.nft, Observed::NotCollected(administering()));
    assert_eq!(own.netfilter.iptables_nft.ipv4, Observed::NotCollected(administering()));
    assert_eq!(own.netfilter.ipsets, Observed::NotCollected(administering()));
    assert_eq!(own.xfrm_policies, Observed::NotCollected(administering()));
    assert_eq!(known(&own.links).len(), 1);
    assert!(known(&own.sysctls).values.len() > 400);
    assert!(known(&own.rules).len() >= 5);
    known(&own.routes);
    known(&own.sockets);
}

#[test]
fn time_grows_with_the_number_of_links_and_no_faster() {
    let time = |n: usize| {
        let here = Namespace::with(&format!(
            "for i in $(seq {n}); do ip link add v$i type veth peer name w$i; done"
        ));
        // Of several, the one that others disturbed least.
        let times = (0..5).map(|_| {
            let begun = Instant::now();
            let facts = here.facts();
            let elapsed = begun.elapsed();
            assert_eq!(known(&facts.links).len(), 2 * n + 1);
            elapsed
        });
        times.min().unwrap()
    };
    let (few, many) = (time(50), time(400));
    println!("101 links {few:?}, 801 links {many:?}");
    assert!(many < few * 8 * 3, "{few:?} for 101 links, {many:?} for 801");
}
