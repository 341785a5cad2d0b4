//! The machine that an agent serves: where its namespaces, its files and its pods' processes are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hopwise_collect::{NodeAccess, PodAccess};
use hopwise_snapshot::{NodeName, Observed, PodName, Reason};
use hopwise_sys::{
    NetNs,
    namespace::{Namespace, NamespaceKind, NamespaceSet},
};
use hopwise_wire::PodIdentity;

use crate::pods::{Found, Running, writers_of_rules};

/// A machine, as one of its process file systems shows it.
///
/// The agent may run in a container: the machine's files and namespaces are those of its first process.
#[derive(Clone, Debug)]
pub struct Host {
    /// A process file system that shows all of the machine's processes.
    pub proc: PathBuf,
    /// The number of the process whose root and namespaces are the machine's own.
    pub init: u32,
}

impl Host {
    /// This machine. Without the right to look at its first process, what this process itself sees stands for it, and
    /// facts that need more rights say so one by one.
    pub fn this() -> Self {
        let proc = PathBuf::from("/proc");
        let may_look =
            fs::read_link(proc.join("1/ns/net")).is_ok() && fs::read_dir(proc.join("1/root")).is_ok();
        Self { init: if may_look { 1 } else { std::process::id() }, proc }
    }

    /// The directory that is `/` to the machine.
    pub(crate) fn root(&self) -> PathBuf {
        self.root_of(self.init)
    }

    /// The directory that is `/` to a process.
    pub(crate) fn root_of(&self, pid: u32) -> PathBuf {
        self.proc.join(format!("{pid}/root"))
    }

    /// Its own network namespace.
    pub(crate) fn netns(&self) -> io::Result<NetNs> {
        NetNs::of_process(&self.proc, self.init)
    }

    /// Looks for pods.
    pub(crate) fn find(&self, pods: &[PodIdentity]) -> io::Result<Found> {
        let own = fs::read_link(self.proc.join(format!("{}/ns/net", self.init)))?;
        Found::scan(&self.proc, &own, pods)
    }

    /// The namespaces of a program that is to see the machine's files, and the network of a pod, where one is given.
    pub(crate) fn of_tools(&self, pod: Option<&Running>) -> io::Result<NamespaceSet> {
        const ALL: [NamespaceKind; 4] =
            [NamespaceKind::Mount, NamespaceKind::Net, NamespaceKind::Uts, NamespaceKind::Ipc];
        match pod {
            None => NamespaceSet::of_process(&self.proc, self.init, &ALL),
            Some(pod) => {
                let around = [NamespaceKind::Mount, NamespaceKind::Uts, NamespaceKind::Ipc];
                let around = NamespaceSet::of_process(&self.proc, self.init, &around)?;
                Ok(around.and(Namespace::of_network(&pod.netns)?))
            }
        }
    }

    /// How the collector reaches the machine and the pods that run, and why it does not reach the others.
    pub(crate) fn access(
        &self,
        name: &NodeName,
        pods: &[PodIdentity],
    ) -> io::Result<(NodeAccess, Vec<(PodName, Reason)>)> {
        let found = self.find(pods)?;
        let (mut reached, mut missing) = (Vec::new(), Vec::new());
        for pod in pods {
            match found.pod(pod) {
                Ok(running) => reached.push(PodAccess {
                    name: pod.name.clone(),
                    netns: running.netns,
                    root: running.container.map(|it| self.root_of(it)),
                }),
                Err(why) => missing.push((pod.name.clone(), Reason::Failed(why))),
            }
        }
        // The machine's own tools first, then those of the containers that write rules, then this process's.
        let writers = writers_of_rules(&self.proc, self.init);
        let tools = std::iter::once(self.init).chain(writers).map(|it| self.root_of(it)).collect();
        let access = NodeAccess {
            name: name.clone(),
            netns: self.netns()?,
            root: self.root(),
            proc: self.proc.clone(),
            tools,
            pods: reached,
        };
        Ok((access, missing))
    }
}

/// The reason for a machine whose first process cannot be looked at.
pub(crate) fn unreachable<T>(error: &io::Error, proc: &Path) -> Observed<T> {
    Observed::NotCollected(match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Reason::NotPermitted(format!("CAP_SYS_PTRACE over the processes of {}", proc.display()))
        }
        _ => Reason::Failed(format!("looking at the processes of {}: {error}", proc.display())),
    })
}
