//! The keeper: the process that holds a lab.
//!
//! It is the first process of a process namespace of its own, so that the kernel ends everything of the lab with
//! it, whatever ends it. It runs no threads: it forks, and moves between namespaces.

mod build;
mod echo;
mod programs;
mod rebuild;
mod serve;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use hopwise_sys::{
    namespace::{NamespaceKind, become_root_of_user_namespace, may_make_namespaces, unshare},
    process::{
        ChildWatch, Forked, end_all_others, fork_as_init_once, leave_session, let_go_of_standard_files,
        own_number, set_name,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    LabError, LabName,
    control::{receive, send},
    directory::{LabDirectory, LabsDirectory},
    error::chain,
    lab::{MemberKind, State, StateMember},
    layout::{Base, Layout, Shape},
    member::report::Reports,
    objects::{Maker, ObjectStore},
    user_namespace,
};
use echo::Recorder;

/// What is asked of a new keeper, by its standard input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) labs: LabsDirectory,
    pub(crate) base: Base,
    pub(crate) n_nodes: u8,
}

/// What a keeper says while it builds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Progress {
    /// It begins with this.
    Step(String),
    /// The lab is there.
    Ready,
    /// It cannot be built, and no process of it is left but the keeper, which ends.
    Failed(String),
}

/// The name of a keeper's process.
pub(crate) const KEEPER_NAME: &str = "hopwise-lab";

/// What a program that can be a keeper does when it is started as one.
///
/// Standard input is the line to whoever wants the lab, standard output the lab's locked directory, and standard
/// error its log.
pub fn keep() -> ExitCode {
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> io::Result<()> {
    let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let claim = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let_go_of_standard_files()?;
    leave_session()?;
    std::env::set_current_dir("/")?;
    let order: Order =
        receive(&mut BufReader::new(&line))?.ok_or_else(|| io::Error::other("nobody asks for a lab"))?;
    match first_process() {
        Ok(Forked::Parent(_)) => Ok(()),
        Ok(Forked::Child) => {
            set_name(KEEPER_NAME)?;
            serve_order(&order, line, claim)
        }
        Err(error) => give_up(&line, &error),
    }
}

/// Goes on as the first process of a new process namespace, in a user namespace of its own where need be.
fn first_process() -> Result<Forked, LabError> {
    let own_user_namespace = !may_make_namespaces();
    if own_user_namespace {
        become_root_of_user_namespace().map_err(user_namespace::refused)?;
    }
    let failed = |source| user_namespace::refused_namespaces(own_user_namespace, source);
    // A network namespace of its own too: a thread that works in a member's must be allowed to come back.
    unshare(&[NamespaceKind::Net]).map_err(failed)?;
    fork_as_init_once().map_err(failed)
}

fn serve_order(order: &Order, line: UnixStream, claim: File) -> io::Result<()> {
    let built = Keeper::new(order, &line, claim).and_then(|mut keeper| {
        keeper.build(&line)?;
        Ok(keeper)
    });
    match built {
        Ok(mut keeper) => {
            send(&mut &line, &Progress::Ready)?;
            drop(line);
            keeper.serve()
        }
        Err(error) => give_up(&line, &error),
    }
}

/// Ends all members and says why.
///
/// The files stay, for `up`, or where that is gone for `down` or the next `up`: as long as they are there it can be
/// told by their lock when the last process has ended.
fn give_up(line: &UnixStream, error: &LabError) -> io::Result<()> {
    log(&chain(error));
    end_members();
    match send(&mut &*line, &Progress::Failed(chain(error))) {
        Err(_) if matches!(error, LabError::Abandoned) => Ok(()),
        sent => sent,
    }
}

/// Ends all members.
fn end_members() {
    // Before it is the first process of its namespace, the keeper has none.
    if let Err(error) = end_all_others()
        && error.kind() != io::ErrorKind::PermissionDenied
    {
        log(&format!("cannot end the members: {error}"));
    }
}

/// Writes a line to the keeper's log.
#[expect(clippy::print_stderr, reason = "standard error is the keeper's log")]
pub(crate) fn log(text: &str) {
    eprintln!("{} {text}", jiff::Timestamp::now());
}

/// A path of a member, as the keeper reaches it.
fn member_path(pid: u32, path: &str) -> PathBuf {
    PathBuf::from(format!("{PROC}/{pid}/root{path}"))
}

/// The lab's `/proc`: that of whoever made it, in which all processes of the lab have the numbers that he sees.
const PROC: &str = "/proc";

/// A member, as the keeper knows it.
#[derive(Debug)]
struct Member {
    kind: MemberKind,
    /// The number of its first process, as whoever made the lab counts.
    pid: u32,
    /// The same as the keeper counts, where the keeper made it.
    own_pid: Option<u32>,
    /// What the kernel did not allow.
    lacks: Vec<String>,
}

struct Keeper {
    directory: LabDirectory,
    name: LabName,
    layout: Layout,
    objects: ObjectStore,
    own_pid: u32,
    has_user_namespace: bool,
    created_at: jiff::Timestamp,
    /// By name: `fab`, `outside`, `w1`, `pod/default/a`.
    members: BTreeMap<String, Member>,
    /// The lines on which nodes take commands.
    nodes: BTreeMap<String, UnixStream>,
    reports: Reports,
    /// The keeper's copy of the end that members have; it gives new ones to members.
    common: crate::member::Common,
    children: ChildWatch,
    control: UnixListener,
    recorder: Recorder,
    /// Programs that wait for packets, by member.
    listening: BTreeMap<String, Vec<String>>,
    /// Pods that kubelet holds for not ready.
    unready: Vec<hopwise_snapshot::PodName>,
}

impl Keeper {
    fn new(order: &Order, line: &UnixStream, claim: File) -> Result<Self, LabError> {
        say(line, "laying out the cluster")?;
        let name: LabName = order.name.parse()?;
        let directory = order.labs.lab(&name);
        let failed = |step| move |source| LabError::Kernel { step, member: "the keeper".to_owned(), source };
        let own_pid = own_number(Path::new(PROC)).map_err(failed("find the own number"))?;
        write_whole(&directory.keeper_number(), own_pid.to_string().as_bytes())?;
        let created_at = jiff::Timestamp::now();
        let layout = Layout::new(Shape { base: order.base, n_nodes: order.n_nodes })?;
        let path = directory.objects();
        fs::create_dir(&path).map_err(|source| LabError::Write { path: path.clone(), source })?;
        let objects = ObjectStore::new(path);
        for (kind, items) in Maker::new(&layout, created_at).all()? {
            objects.write(kind, &items)?;
        }
        let (_open, control) = directory.control().map_err(failed("open the directory"))?;
        let control = UnixListener::bind(control).map_err(failed("make the control socket"))?;
        control.set_nonblocking(true).map_err(failed("make the control socket"))?;
        let (reports, members_line) = Reports::pair().map_err(failed("make the line of reports"))?;
        let open =
            |path: &Path| File::open(path).map_err(|source| LabError::Read { path: path.to_owned(), source });
        Ok(Self {
            common: crate::member::Common {
                layout: layout.clone(),
                proc: open(Path::new(PROC))?,
                objects: open(objects.directory())?,
                line: members_line,
                claim,
            },
            own_pid,
            has_user_namespace: user_namespace::is_own(),
            children: ChildWatch::new().map_err(failed("watch the children"))?,
            recorder: Recorder::default(),
            members: BTreeMap::new(),
            nodes: BTreeMap::new(),
            listening: BTreeMap::new(),
            unready: Vec::new(),
            directory,
            name,
            layout,
            objects,
            created_at,
            reports,
            control,
        })
    }

    /// Writes down what the lab consists of, for those who open it.
    fn write_state(&self) -> Result<(), LabError> {
        let member = |(name, it): (&String, &Member)| StateMember {
            name: name.clone(),
            kind: it.kind,
            pid: it.pid,
            lacks: it.lacks.clone(),
        };
        let state = State {
            format: State::FORMAT,
            name: self.name.to_string(),
            created_at: self.created_at,
            keeper: self.own_pid,
            has_user_namespace: self.has_user_namespace,
            layout: self.layout.clone(),
            members: self.members.iter().map(member).collect(),
        };
        write_whole(&self.directory.state(), &serde_json::to_vec_pretty(&state).expect("only string keys"))
    }
}

/// Replaces a file: a reader sees the old or the new text, never a part.
pub(crate) fn write_whole(path: &PathBuf, text: &[u8]) -> Result<(), LabError> {
    let new = path.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| LabError::Write { path: path.clone(), source })
}

/// Tells who asked for the lab what is being done now.
fn say(line: &UnixStream, step: &str) -> Result<(), LabError> {
    send(&mut &*line, &Progress::Step(step.to_owned())).map_err(|_| LabError::Abandoned)
}
