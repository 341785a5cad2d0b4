//! A node: the programs that run on every one, and the pods.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    io::{BufRead, BufReader, PipeWriter, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
};

use hopwise_snapshot::{Place, PodName};
use hopwise_sys::{
    mount,
    namespace::NamespaceKind,
    process::{ChildWatch, Forked, fork_as_init, kill, poll, reap, set_name},
};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_local;

use super::{
    Common, and_end,
    node_files::node_files,
    open_directory,
    pod::{PodStart, run_pod},
    report::{Event, Reporter},
    responder::{listen_at, listen_everywhere, serve_tcp},
    run_local, start,
};
use crate::layout::{NodeLayout, PodLayout, member_name};

/// What the keeper asks of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum NodeCommand {
    /// End a pod and make its sandbox anew, with new copies of the node's files.
    RestartPod(PodName),
    /// Start the containers of pods whose sandboxes have waited for their networks.
    StartContainers,
    /// Start those of the node's own programs that have ended.
    StartPrograms,
}

/// A program of a node that answers on ports, or only is there.
struct Program {
    name: &'static str,
    /// Ports on all addresses.
    ports: &'static [u16],
    /// Ports on 127.0.0.1.
    local_ports: &'static [u16],
}

/// What runs on every node. Ports as `ss` shows them on a node that kubeadm 1.34 made.
const PROGRAMS: &[Program] = &[
    Program { name: "kubelet", ports: &[10250], local_ports: &[10248] },
    Program { name: "kube-proxy", ports: &[10256], local_ports: &[10249] },
    Program { name: "flanneld", ports: &[], local_ports: &[] },
];

/// What runs on the control plane too.
const API_SERVER: Program = Program { name: "kube-apiserver", ports: &[6443], local_ports: &[] };

/// The names of the programs that a node tells to be listening once it is up.
pub(crate) fn programs(node: &NodeLayout) -> Vec<&'static str> {
    programs_of(node).map(|it| it.name).collect()
}

fn programs_of(node: &NodeLayout) -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().chain(node.is_control_plane().then_some(&API_SERVER))
}

/// The first process of a node. It ends with the keeper.
pub(crate) fn run_node(
    common: &Common,
    node: &NodeLayout,
    reporter: &Reporter,
    commands: UnixStream,
) -> io::Result<()> {
    set_name("init")?;
    common.settle(reporter, &node.name, &node_files(common, node)?)?;
    let mut running = Node {
        common,
        layout: node,
        reporter,
        children: ChildWatch::new()?,
        programs: BTreeMap::new(),
        pods: BTreeMap::new(),
        waiting: BTreeMap::new(),
    };
    running.start_programs()?;
    for pod in &node.pods {
        running.start_pod(pod)?;
    }
    running.obey(commands)
}

struct Node<'a> {
    common: &'a Common,
    layout: &'a NodeLayout,
    reporter: &'a Reporter,
    children: ChildWatch,
    /// Programs that run, by name, with their numbers.
    programs: BTreeMap<&'static str, u32>,
    /// Pods that run, with the numbers of their first processes.
    pods: BTreeMap<PodName, u32>,
    /// Pods whose containers have not been started yet: each waits for a byte.
    waiting: BTreeMap<PodName, PipeWriter>,
}

impl Node<'_> {
    fn obey(&mut self, commands: UnixStream) -> io::Result<()> {
        let mut answers = commands.try_clone()?;
        let mut commands = BufReader::new(commands);
        loop {
            let ready = poll(&[commands.get_ref().as_fd(), self.children.as_fd()], None)?;
            self.reap()?;
            if !ready.contains(&0) {
                continue;
            }
            let mut line = String::new();
            if commands.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let done = serde_json::from_str(&line).map_err(io::Error::other).and_then(|it| self.execute(it));
            let answer = done.map_or_else(|error| error.to_string(), |()| String::new());
            answers.write_all(format!("{}\n", answer.replace('\n', " ")).as_bytes())?;
        }
    }

    fn execute(&mut self, command: NodeCommand) -> io::Result<()> {
        match command {
            NodeCommand::StartPrograms => self.start_programs(),
            NodeCommand::StartContainers => {
                for gate in std::mem::take(&mut self.waiting).values_mut() {
                    // Whose pod has ended meanwhile is made anew, and waits again.
                    drop(gate.write_all(b"+"));
                }
                Ok(())
            }
            NodeCommand::RestartPod(name) => {
                let pod = self.layout.pods.iter().find(|it| it.name == name);
                let pod = pod.ok_or_else(|| io::Error::other(format!("no pod {name} on this node")))?;
                self.stop_pod(pod)?;
                self.start_pod(pod)
            }
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        self.children.clear()?;
        loop {
            match reap(false) {
                Ok(Some((pid, _))) => self.is_gone(pid),
                // ECHILD: all are gone.
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }

    fn is_gone(&mut self, pid: u32) {
        let program = self.programs.iter().find(|(_, it)| **it == pid).map(|(name, _)| *name);
        if let Some(program) = program {
            self.programs.remove(program);
            self.reporter.tell(Event::Gone { program: program.to_owned() });
        }
        let pod = self.pods.iter().find(|(_, it)| **it == pid).map(|(name, _)| name.clone());
        if let Some(pod) = pod {
            self.pods.remove(&pod);
            // A line that cannot be copied is no reason to end a node.
            if let Ok(reporter) = self.reporter.of(member_name(&Place::Pod(pod))) {
                reporter.tell(Event::SandboxEnded);
            }
        }
    }

    fn start_programs(&mut self) -> io::Result<()> {
        for program in programs_of(self.layout) {
            if self.programs.contains_key(program.name) {
                continue;
            }
            let who = format!("node/{}", self.layout.name);
            let reporter = self.reporter;
            let work = || run_local(run_program(program, who, reporter));
            self.programs.insert(program.name, start(program.name, reporter, work)?);
        }
        Ok(())
    }

    fn start_pod(&mut self, pod: &PodLayout) -> io::Result<()> {
        let start = PodStart::on_node(self.common, self.layout, pod)?;
        let reporter = self.reporter.of(member_name(&Place::Pod(pod.name.clone())))?;
        let (mut is_up, up) = io::pipe()?;
        let (gate, opener) = io::pipe()?;
        let pid = match fork_as_init()? {
            Forked::Parent(pid) => pid,
            Forked::Child => and_end(&reporter, || {
                ChildWatch::forget()?;
                drop(is_up);
                run_pod(self.common, pod, &reporter, start, (up, gate))
            }),
        };
        drop(up);
        self.pods.insert(pod.name.clone(), pid);
        self.waiting.insert(pod.name.clone(), opener);
        let mut number = [0; 4];
        is_up
            .read_exact(&mut number)
            .map_err(|_| io::Error::other(format!("the sandbox of {} could not be made", pod.name)))?;
        let namespace = format!("{}/ns/{}", u32::from_ne_bytes(number), NamespaceKind::Net.file_name());
        show_namespace(&open_directory(&self.common.proc).join(namespace), &netns_path(pod))
    }

    fn stop_pod(&mut self, pod: &PodLayout) -> io::Result<()> {
        drop(mount::detach(&netns_path(pod)));
        drop(fs::remove_file(netns_path(pod)));
        let Some(pid) = self.pods.remove(&pod.name) else { return Ok(()) };
        kill(pid)?;
        // Its first process ends when all others of the pod have.
        loop {
            match reap(true)? {
                Some((ended, _)) if ended == pid => return Ok(()),
                Some((other, _)) => self.is_gone(other),
                None => {}
            }
        }
    }
}

async fn run_program(program: &'static Program, who: String, reporter: &Reporter) -> io::Result<()> {
    for port in program.ports {
        spawn_local(serve_tcp(listen_everywhere(*port)?, who.as_str().into()));
    }
    for port in program.local_ports {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], *port));
        spawn_local(serve_tcp(listen_at(address)?, who.as_str().into()));
    }
    reporter.tell(Event::Listening { program: program.name.to_owned() });
    std::future::pending().await
}

fn netns_path(pod: &PodLayout) -> PathBuf {
    Path::new("/run/netns").join(&pod.netns)
}

/// Shows a pod's network namespace in the node's `/run/netns`, as the container runtime does.
fn show_namespace(namespace: &Path, path: &Path) -> io::Result<()> {
    File::create(path)?;
    mount::bind(namespace, path)
}
