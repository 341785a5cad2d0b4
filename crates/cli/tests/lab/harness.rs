//! Running `hopwise lab` as a user, and looking at what is left of it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::Value;

/// Who makes a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Own,
    /// uid 65534, with no rights at all.
    Nobody,
}

/// All users that can be tried: nobody too where the tests run as root.
pub(crate) fn users() -> &'static [User] {
    if is_root() { &[User::Own, User::Nobody] } else { &[User::Own] }
}

/// One of them with no rights, for what is the same for all.
pub(crate) fn plain_user() -> User {
    if is_root() { User::Nobody } else { User::Own }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The program, where uid 65534 can run it too: as it was built, or a copy where others may not look there.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_hopwise"));
        let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x"];
        let can_run =
            |path: &Path| Command::new("setpriv").args(as_nobody).arg(path).status().unwrap().success();
        if !is_root() || can_run(&built) {
            return built;
        }
        let copy = std::env::temp_dir().join("hopwise-of-lab-tests");
        fs::copy(built, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    })
}

/// A directory of labs of one test, removed with all its labs at the test's end.
pub(crate) struct Labs {
    pub(crate) user: User,
    pub(crate) directory: PathBuf,
}

impl Labs {
    pub(crate) fn new(user: User) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hopwise-lab-tests-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        if user == User::Nobody {
            std::os::unix::fs::chown(&directory, Some(65534), Some(65534)).unwrap();
        }
        Self { user, directory }
    }

    /// A command as this user, in whose environment this directory is that of its labs.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.user {
            User::Own => Command::new(program.as_ref()),
            User::Nobody => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program.as_ref());
                command
            }
        };
        command.env("HOPWISE_LAB_DIR", &self.directory).stdin(Stdio::null()).current_dir("/");
        command
    }

    /// `hopwise lab` with these words.
    pub(crate) fn lab(&self, words: &[&str]) -> Output {
        self.command(program()).arg("lab").args(words).output().unwrap()
    }

    /// The same, which must succeed; its standard output.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.lab(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "as {:?}: hopwise lab {words:?}: {}: {said}\n\
             the lab tier needs root or user namespaces: cargo test -p hopwise-cli --test lab",
            self.user,
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, which must fail with this code; its standard error.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) -> String {
        let output = self.lab(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "hopwise lab {words:?}: {said}");
        said
    }

    /// A command in a member, which must succeed.
    pub(crate) fn exec(&self, lab: &str, member: &str, command: &[&str]) -> String {
        self.ok(&[&["exec", lab, member, "--"], command].concat())
    }

    /// The truth about a lab.
    pub(crate) fn truth(&self, lab: &str, only: &[&str]) -> Vec<Value> {
        let mut words = vec!["truth", lab, "-o", "json"];
        for word in only {
            words.extend(["--only", word]);
        }
        let document: Value = serde_json::from_str(&self.ok(&words)).unwrap();
        assert_eq!(document["schema"], "hopwise/truth/v1");
        document["pairs"].as_array().unwrap().clone()
    }

    /// The members of a lab as `lab list` gives them.
    pub(crate) fn members(&self, lab: &str) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.ok(&["list", "-o", "json"])).unwrap();
        assert_eq!(document["schema"], "hopwise/labs/v1");
        let labs = document["labs"].as_array().unwrap();
        let found = labs.iter().find(|it| it["name"] == lab).unwrap_or_else(|| panic!("no lab {lab}"));
        found["members"].as_array().unwrap().clone()
    }

    /// The objects of a kind.
    pub(crate) fn objects(&self, lab: &str, kind: &str) -> Vec<Value> {
        let text = fs::read(self.directory.join(lab).join(format!("objects/{kind}.json"))).unwrap();
        let list: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&"List".into(), &"v1".into()));
        list["items"].as_array().unwrap().clone()
    }
}

impl Drop for Labs {
    fn drop(&mut self) {
        for name in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            drop(self.lab(&["down", &name.file_name().to_string_lossy()]));
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Pairs of a truth that were not reached, for messages.
pub(crate) fn lost(truth: &[Value]) -> Vec<String> {
    let lost = truth.iter().filter(|it| it["reached"] == false);
    lost.map(|it| format!("{} -> {} {} {}", it["from"], it["to"], it["family"], it["error"])).collect()
}

/// What a lab could leave behind on the machine: processes, namespaces, mounts, files.
///
/// Labs of other tests come and go meanwhile, so only what belongs to a directory of labs counts: every process of a
/// lab has the lab's directory open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    processes: BTreeSet<String>,
    namespaces: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Remains {
    pub(crate) fn of(labs: &Labs) -> Self {
        let mut remains = Self {
            processes: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            mounts: BTreeSet::new(),
            files: BTreeSet::new(),
        };
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            if entry.file_name().to_string_lossy().parse::<u32>().is_ok() {
                remains.look_at_process(&entry.path(), labs);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let is_own = |it: &&str| it.contains("hopwise") || it.contains("nsfs");
        remains.mounts.extend(mounts.lines().filter(is_own).map(str::to_owned));
        remains.files.extend(fs::read_dir(&labs.directory).unwrap().flatten().map(|it| it.path()));
        remains
    }

    fn look_at_process(&mut self, process: &Path, labs: &Labs) {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let has_lab = |it: fs::DirEntry| {
            fs::read_link(it.path()).is_ok_and(|it| it.starts_with(&labs.directory) && it != labs.directory)
        };
        if !files.into_iter().any(has_lab) {
            return;
        }
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        self.processes.insert(format!("{} {}", process.display(), name.trim()));
        for namespace in fs::read_dir(process.join("ns")).into_iter().flatten().flatten() {
            self.namespaces.extend(fs::read_link(namespace.path()));
        }
    }

    /// Is there nothing?
    pub(crate) fn assert_none(&self, when: &str) {
        assert_eq!(self.processes, BTreeSet::new(), "processes {when}");
        assert_eq!(self.namespaces, BTreeSet::new(), "namespaces {when}");
        assert_eq!(self.files, BTreeSet::new(), "files {when}");
        assert_eq!(self.mounts, BTreeSet::new(), "mounts {when}");
    }

    /// How many processes there are.
    pub(crate) fn n_processes(&self) -> usize {
        self.processes.len()
    }

    /// How many namespaces there are.
    pub(crate) fn n_namespaces(&self) -> usize {
        self.namespaces.len()
    }
}
