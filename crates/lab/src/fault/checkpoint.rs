//! A member's kernel switches and files at one time.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use hopwise_sys::namespace::{Namespace, NamespaceKind};
use serde::{Deserialize, Serialize};

use crate::{LabError, lab::Member, network::sysctl};

/// The directories whose files are kept: those that are the member's own.
const DIRECTORIES: [&str; 2] = ["/etc", "/run"];

/// A member's switches below `/proc/sys/net` and its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checkpoint {
    /// By path.
    switches: BTreeMap<PathBuf, String>,
    /// Regular files by path: permission bits and content.
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
}

impl Checkpoint {
    /// What a member has now.
    pub(super) fn of(member: &Member) -> Result<Self, LabError> {
        let switches = inside(member, || {
            let mut switches = BTreeMap::new();
            read_switches(Path::new("/proc/sys/net"), &mut switches);
            Ok(switches)
        })?;
        let mut files = BTreeMap::new();
        for directory in DIRECTORIES {
            read_files(member, Path::new(directory), &mut files);
        }
        Ok(Self { switches, files })
    }

    /// Gives the member what it had. Twice, as some switches set others.
    pub(super) fn restore(&self, member: &Member) -> Result<(), LabError> {
        inside(member, || {
            for _ in 0..2 {
                let mut now = BTreeMap::new();
                read_switches(Path::new("/proc/sys/net"), &mut now);
                for (path, value) in
                    self.switches.iter().filter(|(path, value)| now.get(*path) != Some(value))
                {
                    // Switches of interfaces that are gone, and those that count something, refuse.
                    drop(fs::write(path, value));
                }
            }
            Ok(())
        })?;
        let mut now = BTreeMap::new();
        for directory in DIRECTORIES {
            read_files(member, Path::new(directory), &mut now);
        }
        for path in now.keys().filter(|it| !self.files.contains_key(*it)) {
            remove(&member.path(path))?;
        }
        for (path, (mode, content)) in self.files.iter().filter(|(path, file)| now.get(*path) != Some(file)) {
            write(&member.path(path), content)?;
            drop(fs::set_permissions(member.path(path), fs::Permissions::from_mode(*mode)));
        }
        Ok(())
    }
}

/// Does `work` on a thread of its own in a member's network namespace.
fn inside<T: Send>(
    member: &Member,
    work: impl FnOnce() -> Result<T, LabError> + Send,
) -> Result<T, LabError> {
    let enter = || {
        Namespace::of_process(Path::new("/proc"), member.pid, NamespaceKind::Net)
            .and_then(|it| it.enter())
            .map_err(|source| LabError::Kernel {
                step: "enter the network namespace",
                member: member.name.clone(),
                source,
            })
    };
    thread::scope(|scope| {
        let thread = scope.spawn(|| enter().and_then(|()| work()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The value of a switch of a member.
pub(super) fn switch(member: &Member, key: &str) -> Result<String, LabError> {
    let path = sysctl::path(key);
    inside(member, || match fs::read_to_string(&path) {
        Ok(value) => Ok(value.trim_end().to_owned()),
        Err(source) => Err(LabError::Read { path, source }),
    })
}

/// Sets a switch of a member.
pub(super) fn set_switch(member: &Member, key: &str, value: &str) -> Result<(), LabError> {
    let path = sysctl::path(key);
    inside(member, || fs::write(&path, value).map_err(|source| LabError::Write { path, source }))
}

/// The content of a file of a member, if there is one.
pub(super) fn file(member: &Member, path: &str) -> Result<Option<Vec<u8>>, LabError> {
    let path = member.path(Path::new(path));
    match fs::read(&path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LabError::Read { path, source }),
    }
}

/// Gives a file of a member this content, or removes it.
pub(super) fn set_file(member: &Member, path: &str, content: Option<&[u8]>) -> Result<(), LabError> {
    let path = member.path(Path::new(path));
    match content {
        Some(content) => write(&path, content),
        None => remove(&path),
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), LabError> {
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    parent
        .and_then(|()| fs::write(path, content))
        .map_err(|source| LabError::Write { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), LabError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LabError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn read_switches(directory: &Path, switches: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            read_switches(&path, switches);
        } else if metadata.permissions().mode() & 0o200 != 0
            && let Ok(value) = fs::read_to_string(&path)
        {
            switches.insert(path, value.trim_end().to_owned());
        }
    }
}

fn read_files(member: &Member, directory: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(member.path(directory)).into_iter().flatten().flatten() {
        let path = directory.join(entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            read_files(member, &path, files);
        } else if kind.is_file()
            // Namespaces that are shown as files are none.
            && !path.starts_with("/run/netns")
            && let (Ok(metadata), Ok(content)) = (entry.metadata(), fs::read(entry.path()))
        {
            files.insert(path, (metadata.permissions().mode() & 0o777, content));
        }
    }
}
