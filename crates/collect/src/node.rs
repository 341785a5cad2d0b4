//! Nodes and their pods: namespaces, files, processes, modules.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    sync::mpsc,
    thread,
};

use hopwise_snapshot::{Node, NodeName, Observed, Place, Pod, PodName, Reason, Snapshot};
use hopwise_sys::{NetNs, Root};

use crate::{
    Limits, files,
    modules::{self, KernelModules},
    net_ns::{self, Machine},
    processes::Processes,
    reason,
};

/// How to reach what a node is made of.
#[derive(Debug)]
pub struct NodeAccess {
    /// The node's name, as the API server spells it.
    pub name: NodeName,
    /// Its initial network namespace.
    pub netns: NetNs,
    /// Its root directory, as `/proc/PID/root` of a process of the node.
    pub root: PathBuf,
    /// A process file system that shows its processes, as `/proc/PID/root/proc`.
    pub proc: PathBuf,
    /// Root directories to look for programs in (`nft`, `iptables-nft-save`, …) before this process's own:
    /// the node's, or those of its containers. A program runs with its directory as `/`.
    pub tools: Vec<PathBuf>,
    /// The pods on it that have a network namespace of their own.
    pub pods: Vec<PodAccess>,
}

/// How to reach what a pod is made of.
#[derive(Debug)]
pub struct PodAccess {
    /// The pod's name.
    pub name: PodName,
    /// Its network namespace.
    pub netns: NetNs,
    /// The root directory of its first container, where one runs.
    pub root: Option<PathBuf>,
}

/// One more place has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which one.
    pub place: Place,
    /// How many have been read.
    pub n_done: usize,
    /// How many there are.
    pub n_places: usize,
}

/// The state of nodes and of the pods on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The nodes.
    pub nodes: BTreeMap<NodeName, Observed<Node>>,
    /// The pods.
    pub pods: BTreeMap<PodName, Observed<Pod>>,
}

impl Collected {
    /// Adds what was collected to a snapshot.
    pub fn add_to(self, snapshot: &mut Snapshot) {
        snapshot.nodes.extend(self.nodes);
        snapshot.pods.extend(self.pods);
    }
}

/// Reads nodes and their pods, several places at a time: twice as many as there are processors.
///
/// `progress` is called from several threads, once a place, when the place has been read. The order of
/// reading does not show in the result.
pub fn collect(nodes: &[NodeAccess], limits: &Limits, progress: &(dyn Fn(Progress) + Sync)) -> Collected {
    let machines = each(nodes, |it| NodeMachine::read(it, limits));
    let places: Vec<Target<'_>> = nodes.iter().zip(&machines).flat_map(targets).collect();
    let n_done = AtomicUsize::new(0);
    let states = each(&places, |target| {
        let state = target.state(&known(nodes, target), limits);
        let n_done = n_done.fetch_add(1, Ordering::Relaxed) + 1;
        progress(Progress { place: target.place(), n_done, n_places: places.len() });
        state
    });
    let mut collected = Collected::default();
    for state in states {
        match state {
            State::Node(name, node) => {
                collected.nodes.insert(name, Observed::Known(*node));
            }
            State::Pod(name, pod) => {
                collected.pods.insert(name, Observed::Known(*pod));
            }
        }
    }
    collected
}

/// What was read of a place.
enum State {
    Node(NodeName, Box<Node>),
    Pod(PodName, Box<Pod>),
}

/// Reads one node, without its pods; they serve to explain its links.
pub fn node(access: &NodeAccess, limits: &Limits) -> Node {
    let machine = NodeMachine::read(access, limits);
    let target = Target { node: access, pod: None, machine: &machine };
    target.node_state(&known(std::slice::from_ref(access), &target), limits)
}

/// Reads one pod of a node.
pub fn pod(access: &PodAccess, node: &NodeAccess, limits: &Limits) -> Pod {
    let machine = NodeMachine::read(node, limits);
    let target = Target { node, pod: Some(access), machine: &machine };
    target.pod_state(access, &known(std::slice::from_ref(node), &target), limits)
}

/// What is read once for a node and all its pods.
struct NodeMachine {
    modules: KernelModules,
    kernel: Observed<String>,
    files: files::Files,
    directories: files::Directories,
    processes: Processes,
    tools: Vec<Option<Root>>,
}

impl NodeMachine {
    fn read(access: &NodeAccess, limits: &Limits) -> Self {
        let open = |path: &Path| {
            Root::open(path).map_err(|it| reason::of_io(&it, &format!("reading {}", path.display())))
        };
        let (root, proc) = (open(&access.root), open(&access.proc));
        let modules = match (&root, &proc) {
            (Ok(root), Ok(proc)) => KernelModules::read(root, proc),
            (Err(reason), _) | (_, Err(reason)) => KernelModules::unreadable(reason),
        };
        let kernel = match &proc {
            Ok(proc) => modules::release(proc)
                .map_or_else(|it| reason::of_read(&it, "/proc/sys/kernel/osrelease"), Observed::Known),
            Err(reason) => Observed::NotCollected(reason.clone()),
        };
        let (files, directories) = match &root {
            Ok(root) => files::of_node(root, limits),
            Err(reason) => files::of_unreadable_node(reason),
        };
        let processes = Processes::read(&access.proc, limits);
        let mut tools: Vec<_> = access.tools.iter().filter_map(|it| Root::open(it).ok()).map(Some).collect();
        tools.push(None);
        Self { modules, kernel, files, directories, processes, tools }
    }
}

/// A place to read.
struct Target<'a> {
    node: &'a NodeAccess,
    pod: Option<&'a PodAccess>,
    machine: &'a NodeMachine,
}

fn targets<'a>((node, machine): (&'a NodeAccess, &'a NodeMachine)) -> impl Iterator<Item = Target<'a>> {
    let itself = Target { node, pod: None, machine };
    std::iter::once(itself).chain(node.pods.iter().map(move |it| Target { node, pod: Some(it), machine }))
}

impl Target<'_> {
    fn place(&self) -> Place {
        match self.pod {
            Some(pod) => Place::Pod(pod.name.clone()),
            None => Place::Node(self.node.name.clone()),
        }
    }

    fn netns(&self) -> &NetNs {
        self.pod.map_or(&self.node.netns, |it| &it.netns)
    }

    fn state(&self, known: &[(Place, &NetNs)], limits: &Limits) -> State {
        match self.pod {
            Some(pod) => State::Pod(pod.name.clone(), Box::new(self.pod_state(pod, known, limits))),
            None => State::Node(self.node.name.clone(), Box::new(self.node_state(known, limits))),
        }
    }

    fn net(&self, known: &[(Place, &NetNs)], limits: &Limits) -> hopwise_snapshot::NetNs {
        let NodeMachine { modules, tools, processes, .. } = self.machine;
        let ns = self.netns();
        let mut reading = net_ns::read(ns, known, &Machine { limits, modules, tools });
        let holders = processes.holders(&self.node.proc, ns.inode(), &reading.socket_inodes, limits);
        if let Observed::Known(sockets) = &mut reading.net.sockets {
            for (socket, inode) in sockets.iter_mut().zip(&reading.socket_inodes) {
                socket.program = holders.get(inode).cloned();
            }
        }
        reading.net
    }

    fn node_state(&self, known: &[(Place, &NetNs)], limits: &Limits) -> Node {
        let machine = self.machine;
        Node {
            net: self.net(known, limits),
            kernel: machine.kernel.clone(),
            modules: machine.modules.all(),
            files: machine.files.clone(),
            directories: machine.directories.clone(),
            processes: machine.processes.of(self.node.netns.inode()),
        }
    }

    fn pod_state(&self, pod: &PodAccess, known: &[(Place, &NetNs)], limits: &Limits) -> Pod {
        let root = match &pod.root {
            Some(path) => {
                Root::open(path).map_err(|it| reason::of_io(&it, &format!("reading {}", path.display())))
            }
            None => Err(Reason::SourceLacksIt),
        };
        Pod {
            node: self.node.name.clone(),
            net: self.net(known, limits),
            files: match root {
                Ok(root) => files::of_pod(&root, limits),
                Err(reason) => files::of_unreadable_pod(&reason),
            },
            processes: self.machine.processes.of(pod.netns.inode()),
        }
    }
}

/// The namespaces that a place's links may lead to, the likely ones first: a pod's node, a node's pods, then
/// all others.
fn known<'a>(nodes: &'a [NodeAccess], target: &Target<'a>) -> Vec<(Place, &'a NetNs)> {
    let here = target.place();
    let of_node = |node: &'a NodeAccess| {
        let itself = (Place::Node(node.name.clone()), &node.netns);
        std::iter::once(itself).chain(node.pods.iter().map(|it| (Place::Pod(it.name.clone()), &it.netns)))
    };
    let others = nodes.iter().filter(|it| it.name != target.node.name).flat_map(of_node);
    of_node(target.node).chain(others).filter(|(place, _)| *place != here).collect()
}

/// Applies `f` to each item on a bounded number of threads. The results are in the order of the items.
fn each<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n_threads = thread::available_parallelism().map_or(2, usize::from) * 2;
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..n_threads.min(items.len()) {
            let sender = sender.clone();
            let (next, f) = (&next, &f);
            scope.spawn(move || {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|it| (at, it))
                } {
                    // The receiver outlives the threads.
                    let _ = sender.send((at, f(item)));
                }
            });
        }
    });
    drop(sender);
    let mut results: Vec<_> = results.into_iter().collect();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(each(&items, |it| it * 2), items.iter().map(|it| it * 2).collect::<Vec<_>>());
        assert!(each::<u32, u32>(&[], |it| *it).is_empty());
    }

    #[test]
    fn this_machine_can_be_read_by_anyone() {
        let access = NodeAccess {
            name: "here".into(),
            netns: NetNs::current().unwrap(),
            root: "/".into(),
            proc: "/proc".into(),
            tools: Vec::new(),
            pods: Vec::new(),
        };
        let node = node(&access, &Limits::default());
        assert!(node.kernel.known().is_some_and(|it| it.contains('.')));
        assert!(node.files.contains_key("/etc/resolv.conf"));
        assert!(node.net.inode.known().is_some());
    }

    #[test]
    fn a_root_that_is_gone_is_told_file_by_file() {
        let access = NodeAccess {
            name: "gone".into(),
            netns: NetNs::current().unwrap(),
            root: "/nonexistent".into(),
            proc: "/nonexistent/proc".into(),
            tools: Vec::new(),
            pods: Vec::new(),
        };
        let machine = NodeMachine::read(&access, &Limits::default());
        assert!(machine.files["/etc/resolv.conf"].is_not_collected());
        assert!(machine.directories["/etc/cni/net.d"].is_not_collected());
        assert!(machine.kernel.is_not_collected());
        assert!(machine.modules.all().is_not_collected());
        assert!(machine.processes.of(1).is_not_collected());
    }
}
