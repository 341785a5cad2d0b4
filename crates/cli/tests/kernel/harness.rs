//! Nodes and pods that are processes in network namespaces, as a process file system of our own making shows them.

use std::{
    fs,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::symlink,
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use hopwise_agent::{Line, Local, NodesVia, OpenError, Target};
use hopwise_snapshot::{NodeName, Observed, PodName};
use hopwise_sys::{
    NetNs,
    namespace::{NamespaceKind, unshare},
};
use hopwise_wire::PodIdentity;

const COMMAND: &str = "run it as: script/test kernel";

/// A network namespace of this test's own.
pub(crate) struct Namespace(pub(crate) NetNs);

impl Namespace {
    /// An empty one. Panics where the process lacks the rights, and where it has too many.
    pub(crate) fn new() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap();
        let words: Vec<&str> = map.split_ascii_whitespace().collect();
        assert!(words != ["0", "0", "4294967295"], "this process is the machine's own user; {COMMAND}");
        let made = thread::spawn(|| {
            unshare(&[NamespaceKind::Net])
                .unwrap_or_else(|it| panic!("no new network namespace ({it}); {COMMAND}"));
            NetNs::current().unwrap()
        });
        let namespace = Self(made.join().unwrap());
        namespace.sh("ip link set lo up");
        namespace
    }

    /// Runs a script inside, fails with what it said, and returns what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.0.run(|| Command::new("sh").args(["-euc", script]).output().unwrap()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{script}` failed: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A path by which ip(8) finds it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_fd().as_raw_fd())
    }

    /// A process inside that does nothing.
    fn process(&self) -> Process {
        let start = || Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        Process(self.0.run(start).unwrap())
    }
}

/// A process that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node: its processes, and the process file system that shows them and no others.
pub(crate) struct FakeNode {
    pub(crate) name: &'static str,
    pub(crate) netns: Namespace,
    proc: tempfile::TempDir,
    roots: tempfile::TempDir,
    processes: Vec<Process>,
    init: u32,
    pub(crate) pods: Vec<PodIdentity>,
}

impl FakeNode {
    /// A node without pods.
    pub(crate) fn new(name: &'static str) -> Self {
        let (proc, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let netns = Namespace::new();
        let mut node = Self { name, netns, proc, roots, processes: Vec::new(), init: 0, pods: Vec::new() };
        let init = node.netns.process();
        node.init = node.show(init, "0::/init.scope", "node");
        node
    }

    /// Shows a process by its real number, with the cgroup and the root that it would have.
    fn show(&mut self, process: Process, cgroup: &str, root: &str) -> u32 {
        let pid = process.0.id();
        let directory = self.proc.path().join(pid.to_string());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("cgroup"), format!("{cgroup}\n")).unwrap();
        for name in ["comm", "fd", "ns", "stat"] {
            symlink(format!("/proc/{pid}/{name}"), directory.join(name)).unwrap();
        }
        symlink(self.root(root), directory.join("root")).unwrap();
        self.processes.push(process);
        pid
    }

    /// The directory that is `/` to the node (`node`) or to a pod's container (the pod's name).
    pub(crate) fn root(&self, of: &str) -> std::path::PathBuf {
        let root = self.roots.path().join(of);
        fs::create_dir_all(root.join("etc")).unwrap();
        root
    }

    /// Starts a pod with a sandbox and a container, joined to the node by a link.
    pub(crate) fn pod(&mut self, name: &str, uid: &str, cgroup: &str) -> Namespace {
        let netns = Namespace::new();
        self.netns.sh(&format!("ip link add v{name} type veth peer name eth0 netns {}", netns.path()));
        self.netns.sh(&format!("ip link set v{name} up"));
        netns.sh("ip link set eth0 up");
        let sandbox = netns.process();
        self.show(sandbox, &format!("{cgroup}/sandbox"), "none");
        // The kernel counts in hundredths of a second when a process was started.
        thread::sleep(std::time::Duration::from_millis(30));
        let container = netns.process();
        self.show(container, &format!("{cgroup}/container"), name);
        self.expect(name, uid);
        netns
    }

    /// A pod that the API server knows of.
    pub(crate) fn expect(&mut self, name: &str, uid: &str) {
        self.pods.push(PodIdentity { name: PodName::new("default", name), uid: uid.to_owned() });
    }

    /// How it is known to a client.
    pub(crate) fn target(&self) -> Target {
        Target {
            name: self.name.into(),
            hosts: vec![self.name.to_owned()],
            pods: self.pods.clone(),
            starting: Vec::new(),
        }
    }

    /// The arguments of its agent.
    pub(crate) fn arguments(&self) -> Vec<std::ffi::OsString> {
        let init = self.init.to_string();
        vec!["on-node".into(), "--proc".into(), self.proc.path().into(), "--init".into(), init.into()]
    }
}

/// The way to nodes of this test: each one's agent is a child.
pub(crate) struct Fakes(Vec<(NodeName, Local)>);

impl Fakes {
    /// The way to these.
    pub(crate) fn to(nodes: &[&FakeNode]) -> Box<dyn NodesVia> {
        let local = |it: &&FakeNode| {
            (NodeName::from(it.name), Local { program: hopwise(), arguments: it.arguments() })
        };
        Box::new(Self(nodes.iter().map(local).collect()))
    }
}

impl NodesVia for Fakes {
    fn open(&self, node: &Target) -> Result<Line, OpenError> {
        match self.0.iter().find(|it| it.0 == node.name) {
            Some((_, local)) => local.open(node),
            None => Err(OpenError::UnknownHost { hosts: node.hosts.clone() }),
        }
    }
}

/// The program.
pub(crate) fn hopwise() -> std::path::PathBuf {
    Path::new(env!("CARGO_BIN_EXE_hopwise")).to_owned()
}

/// The value of a fact that must be there.
#[track_caller]
pub(crate) fn known<T: std::fmt::Debug>(fact: &Observed<T>) -> &T {
    match fact {
        Observed::Known(value) => value,
        other => panic!("expected a known fact, found {other:?}"),
    }
}
