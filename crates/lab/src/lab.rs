//! A lab that is there, for those who use it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use hopwise_snapshot::{OutsideTarget, Place, PodName, Protocol};
use hopwise_sys::{
    namespace::{Namespace, NamespaceKind, NamespaceSet},
    process::{enter_before_exec, run_in_foreground},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Controller, LabError, LabName,
    control::{Request, ask},
    directory::{LabDirectory, LabsDirectory},
    layout::{Layout, OUTSIDE_NAME, RESPONDER_PORT},
    programs::search_path,
};

/// What kind of thing a member of a lab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// The underlay between the nodes: switch, cloud, hypervisor.
    Fab,
    /// A node.
    Node,
    /// What is outside of the cluster.
    Outside,
    /// A pod with a network namespace of its own.
    Pod,
}

/// A member of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What `lab exec` calls it: `w1`, `pod/default/a`, `fab`, `outside`.
    pub name: String,
    /// What kind of thing it is.
    pub kind: MemberKind,
    /// Its place in the cluster; none for what is no part of it.
    pub place: Option<Place>,
    /// The number of its first process.
    pub pid: u32,
    /// What the kernel did not allow, in words: `a /sys of its own (…)`. Empty where all is as it should be.
    pub lacks: Vec<String>,
}

impl Member {
    /// The file of its network namespace.
    pub fn net_namespace_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }

    /// A path of its file system, as seen from outside.
    pub fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn from_state(state: &StateMember) -> Self {
        let StateMember { name, kind, pid, lacks } = state.clone();
        let place = match kind {
            MemberKind::Node => Some(Place::node(&name)),
            MemberKind::Pod => name.parse().ok(),
            MemberKind::Fab | MemberKind::Outside => None,
        };
        Self { name, kind, place, pid, lacks }
    }
}

/// A lab that is there.
#[derive(Clone, Debug)]
pub struct Lab {
    directory: LabDirectory,
    state: State,
    members: Vec<Member>,
}

impl Lab {
    /// Opens the lab of this user called `name`.
    pub fn open(name: &LabName) -> Result<Self, LabError> {
        Self::open_in(&LabsDirectory::of_this_user()?, name)
    }

    /// Opens the lab called `name` in a directory of labs.
    pub fn open_in(labs: &LabsDirectory, name: &LabName) -> Result<Self, LabError> {
        let directory = labs.lab(name);
        match directory.lock() {
            Err(LabError::Exists { .. }) => {}
            Err(error) => return Err(error),
            Ok(Some(_)) => return Err(LabError::Dead { name: name.to_string() }),
            Ok(None) => {
                let directory = labs.path().to_owned();
                return Err(LabError::NoSuchLab { name: name.to_string(), directory });
            }
        }
        let state = State::read(&directory)?;
        let members = state.members.iter().map(Member::from_state).collect();
        Ok(Self { directory, state, members })
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.state.created_at
    }

    /// What it consists of.
    pub fn layout(&self) -> &Layout {
        &self.state.layout
    }

    /// Its members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member called `name`, as in [`Member::name`], or as its place (`node/w1`).
    pub fn member(&self, name: &str) -> Result<&Member, LabError> {
        let plain = name.strip_prefix("node/").unwrap_or(name);
        self.members.iter().find(|it| it.name == plain).ok_or_else(|| LabError::NoSuchMember {
            lab: self.name().to_owned(),
            member: name.to_owned(),
            members: self.members.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The directory of the Kubernetes objects: `nodes.json`, `pods.json`, `services.json`, `endpointslices.json`,
    /// `configmaps.json`, `networkpolicies.json`, `namespaces.json`, `workloads.json`, `events.json`, each a `List` as
    /// `kubectl get -o json` prints it.
    pub fn objects_dir(&self) -> PathBuf {
        self.directory.objects()
    }

    /// The directory for what repairs of this lab write down; it goes with the lab.
    pub fn repairs_dir(&self) -> PathBuf {
        self.directory.repairs()
    }

    /// What a cluster in this lab must reach outside.
    pub fn outside(&self) -> Vec<OutsideTarget> {
        let protocols = [Protocol::Tcp, Protocol::Udp];
        let addresses = self.layout().web_addresses();
        let target =
            |address| protocols.map(|protocol| OutsideTarget { address, port: RESPONDER_PORT, protocol });
        addresses.into_iter().flat_map(target).collect()
    }

    /// A name that every pod and node must be able to resolve.
    pub fn outside_name(&self) -> &'static str {
        OUTSIDE_NAME
    }

    /// Are the lab's namespaces in a user namespace of their own, because whoever made it was not root?
    pub fn has_user_namespace(&self) -> bool {
        self.state.has_user_namespace
    }

    /// The words before a command that let it run in a member, for whoever made the lab.
    pub fn enter_words(&self, member: &Member) -> Vec<String> {
        let pid = member.pid.to_string();
        let mut words = vec!["nsenter", "-t", &pid, "-m", "-n", "-p", "-u", "-i"];
        if self.needs_user_namespace() {
            words.extend(["-U", "--preserve-credentials"]);
        }
        words.push("--");
        words.into_iter().map(str::to_owned).collect()
    }

    /// Puts this process into the lab's user namespace, where it has one, so that it may open its members'
    /// namespaces and what is below `/proc/PID/root`.
    ///
    /// To be called while the process has a single thread: the kernel refuses it to others with `EINVAL`.
    pub fn enter_user_namespace(&self) -> Result<(), LabError> {
        let Some(member) = self.members.first().filter(|_| self.needs_user_namespace()) else {
            return Ok(());
        };
        let set = NamespaceSet::of_process(Path::new("/proc"), member.pid, &[NamespaceKind::User]);
        set.and_then(|it| it.enter()).map_err(|source| LabError::Kernel {
            step: "enter the user namespace",
            member: format!("lab {}", self.name()),
            source,
        })
    }

    /// All namespaces of a member, for a process that will run something there.
    pub fn namespaces(&self, member: &Member) -> Result<NamespaceSet, LabError> {
        let mut kinds = NamespaceKind::ALL.to_vec();
        if !self.needs_user_namespace() {
            kinds.retain(|it| *it != NamespaceKind::User);
        }
        NamespaceSet::of_process(Path::new("/proc"), member.pid, &kinds).map_err(|source| LabError::Kernel {
            step: "open the namespaces",
            member: member.name.clone(),
            source,
        })
    }

    /// A command that will run in a member, with all of its namespaces.
    ///
    /// What is spawned waits for the program and ends as it did; killing it kills the program.
    pub fn command(&self, member: &Member, program: &str) -> Result<Command, LabError> {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        enter_before_exec(&mut command, self.namespaces(member)?);
        Ok(command)
    }

    /// Runs a command in a member with this process's terminal, and returns the code that a shell would give.
    ///
    /// This process enters the member for good. To be called while it has a single thread.
    pub fn exec(&self, member: &Member, command: &[String]) -> Result<i32, LabError> {
        let kernel = |step| move |source| LabError::Kernel { step, member: member.name.clone(), source };
        self.namespaces(member)?.enter().map_err(kernel("enter the namespaces"))?;
        let Some((program, arguments)) = command.split_first() else { return Ok(0) };
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", search_path());
        match run_in_foreground(&mut command) {
            Ok(end) => Ok(end.shell_code()),
            Err(source) => {
                let member = member.name.clone();
                Err(LabError::NoSuchProgram { program: program.clone(), member, source })
            }
        }
    }

    /// Starts a controller of a node anew: it writes its whole state, as the real one does.
    pub fn sync(&self, controller: Controller, node: &str) -> Result<(), LabError> {
        self.ask(&Request::Sync { controller, node: node.to_owned() }).map(drop)
    }

    /// Ends a pod and starts it anew: it keeps name and address, and gets new namespaces and new copies of its node's
    /// files. Its number is another then: open the lab again.
    pub fn restart_pod(&self, pod: &PodName) -> Result<(), LabError> {
        self.ask(&Request::RestartPod(pod.clone())).map(drop)
    }

    pub(crate) fn ask(&self, request: &Request) -> Result<crate::control::Response, LabError> {
        ask(&self.directory, self.name(), request)
    }

    pub(crate) fn directory(&self) -> &LabDirectory {
        &self.directory
    }

    /// Is the lab's user namespace another than this process's?
    fn needs_user_namespace(&self) -> bool {
        let Some(member) = self.members.first() else { return false };
        let inode = |it: io::Result<Namespace>| it.and_then(|it| it.inode()).ok();
        let own = inode(Namespace::of_this_thread(NamespaceKind::User));
        let labs = inode(Namespace::of_process(Path::new("/proc"), member.pid, NamespaceKind::User));
        match (own, labs) {
            (Some(own), Some(labs)) => own != labs,
            _ => self.state.has_user_namespace,
        }
    }
}

/// The file `lab.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) keeper: u32,
    pub(crate) has_user_namespace: bool,
    pub(crate) layout: Layout,
    pub(crate) members: Vec<StateMember>,
}

/// A member in that file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateMember {
    pub(crate) name: String,
    pub(crate) kind: MemberKind,
    pub(crate) pid: u32,
    pub(crate) lacks: Vec<String>,
}

impl State {
    /// The version of the file's format. A lab lives no longer than the program that made it, so there is no older.
    pub(crate) const FORMAT: u32 = 1;

    pub(crate) fn read(directory: &LabDirectory) -> Result<Self, LabError> {
        let path = directory.state();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LabError::NotReady { name: directory.name().to_string() });
            }
            Err(source) => return Err(LabError::Read { path, source }),
        };
        serde_json::from_slice(&text).map_err(|source| LabError::Parse { path, source })
    }
}
