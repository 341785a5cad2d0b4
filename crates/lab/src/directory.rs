//! Where labs keep their files, and the lock that says whether one lives.

use std::{
    env, fs,
    fs::{DirBuilder, File, TryLockError},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};

use crate::{LabError, LabName};

/// The directory of this user's labs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabsDirectory {
    path: PathBuf,
    /// How many directories above [`LabsDirectory::path`], itself included, are the labs' own.
    n_own: usize,
}

impl LabsDirectory {
    /// `$HOPWISE_LAB_DIR`; else for root `/run/hopwise/labs`; else `$XDG_RUNTIME_DIR/hopwise/labs` where that can be
    /// written; else `/tmp/hopwise-UID/labs`, which must belong to this user alone.
    pub fn of_this_user() -> Result<Self, LabError> {
        // Who has entered a lab's user namespace is root there, and its labs are still where they were.
        static USUAL: OnceLock<LabsDirectory> = OnceLock::new();
        if let Some(path) = env::var_os("HOPWISE_LAB_DIR").filter(|it| !it.is_empty()) {
            let path =
                std::path::absolute(&path).map_err(|source| LabError::Read { path: path.into(), source })?;
            return Ok(Self { path, n_own: 0 });
        }
        if let Some(known) = USUAL.get() {
            return Ok(known.clone());
        }
        let usual = Self::usual()?;
        Ok(USUAL.get_or_init(|| usual).clone())
    }

    fn usual() -> Result<Self, LabError> {
        let uid = hopwise_sys::process::effective_user();
        if uid == 0 && is_writable(Path::new("/run")) {
            return Ok(Self { path: "/run/hopwise/labs".into(), n_own: 2 });
        }
        if let Some(runtime) = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
            && runtime.is_absolute()
            && is_writable(&runtime)
        {
            return Ok(Self { path: runtime.join("hopwise/labs"), n_own: 2 });
        }
        let own = PathBuf::from(format!("/tmp/hopwise-{uid}"));
        match fs::symlink_metadata(&own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(it) if it.is_dir() && it.uid() == uid && has_no_mode_for_others(it.mode()) => {}
            _ => return Err(LabError::UnsafeDirectory { path: own }),
        }
        Ok(Self { path: own.join("labs"), n_own: 2 })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all labs that there are or were, sorted.
    pub fn names(&self) -> Result<Vec<LabName>, LabError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(LabError::Read { path: self.path.clone(), source }),
        };
        let name = |it: io::Result<fs::DirEntry>| it.ok()?.file_name().to_str()?.parse().ok();
        let mut names: Vec<LabName> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The directory of one lab.
    pub(crate) fn lab(&self, name: &LabName) -> LabDirectory {
        LabDirectory { path: self.path.join(name.as_str()), name: name.clone(), labs: self.clone() }
    }
}

/// The directory of one lab.
///
/// Who holds the lock on the directory itself is a process of the lab: all of them inherit it, so it is free
/// only when the last is gone.
#[derive(Clone, Debug)]
pub(crate) struct LabDirectory {
    path: PathBuf,
    name: LabName,
    labs: LabsDirectory,
}

impl LabDirectory {
    pub(crate) fn name(&self) -> &LabName {
        &self.name
    }

    /// What the lab consists of, for those who open it.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("lab.json")
    }

    /// The Kubernetes objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// What repairs of this lab write down.
    pub(crate) fn repairs(&self) -> PathBuf {
        self.path.join("repairs")
    }

    /// Where the keeper listens, by a path that is never too long for a socket's address (108 bytes) while the file
    /// is open.
    pub(crate) fn control(&self) -> io::Result<(File, PathBuf)> {
        let directory = File::open(&self.path)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/control", directory.as_raw_fd()));
        Ok((directory, path))
    }

    /// The number of the keeper, from the moment when it begins to build.
    pub(crate) fn keeper_number(&self) -> PathBuf {
        self.path.join("keeper.pid")
    }

    /// The number of the keeper, where it is known and a process of the lab lives.
    ///
    /// The lock is held only while one lives, and the keeper is the last of them to end, so the number is not another
    /// process's as long as the caller finds the lock taken.
    pub(crate) fn keeper(&self) -> Option<u32> {
        fs::read_to_string(self.keeper_number()).ok()?.trim().parse().ok()
    }

    /// What the keeper and its children say.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("keeper.log")
    }

    /// What was injected, and how it was before.
    pub(crate) fn faults(&self) -> PathBuf {
        self.path.join("faults.json")
    }

    /// Makes the directory and takes its lock, for building a lab in it.
    ///
    /// What a killed `up` has left there is cleared away.
    pub(crate) fn claim(&self) -> Result<File, LabError> {
        let failed = |source| LabError::Write { path: self.path.clone(), source };
        loop {
            self.make().map_err(failed)?;
            let Some(claim) = self.lock()? else { continue };
            self.clear().map_err(failed)?;
            return Ok(claim);
        }
    }

    /// The lock, where no process of the lab lives. `None` where the directory went away meanwhile.
    ///
    /// # Errors
    /// [`LabError::Exists`] while a process of the lab lives.
    pub(crate) fn lock(&self) -> Result<Option<File>, LabError> {
        let directory = match File::open(&self.path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LabError::Read { path: self.path.clone(), source }),
        };
        let owner = directory.metadata().map(|it| it.uid());
        if owner.ok() != Some(hopwise_sys::process::effective_user()) {
            return Err(LabError::UnsafeDirectory { path: self.path.clone() });
        }
        match directory.try_lock() {
            Ok(()) => Ok(self.is_at_path(&directory).then_some(directory)),
            Err(TryLockError::WouldBlock) => Err(LabError::Exists { name: self.name.to_string() }),
            Err(TryLockError::Error(source)) => Err(LabError::Read { path: self.path.clone(), source }),
        }
    }

    /// Does a process of the lab live?
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.lock(), Err(LabError::Exists { .. }))
    }

    /// Removes the directory with all that is in it, and directories above it that only labs use.
    pub(crate) fn remove(&self) -> Result<(), LabError> {
        match fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::Write { path: self.path.clone(), source });
            }
            _ => {}
        }
        let above = self.path.ancestors().skip(1).take(self.labs.n_own);
        for directory in above {
            // Not empty: another lab is there.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.labs.path)?;
        match DirBuilder::new().mode(0o700).create(&self.path) {
            // A lab was there, or another removed the empty directories above at this moment: look again.
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                Ok(())
            }
            made => made,
        }
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn is_at_path(&self, directory: &File) -> bool {
        match (directory.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
            _ => false,
        }
    }
}

/// Do these permission bits let nobody but the owner in?
fn has_no_mode_for_others(mode: u32) -> bool {
    const OTHERS: u32 = 0o077;
    mode & OTHERS == 0
}

fn is_writable(path: &Path) -> bool {
    hopwise_sys::process::may_write(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn scratch() -> LabsDirectory {
        let path = env::temp_dir().join(format!("hopwise-labs-{}", random::suffix().unwrap())).join("labs");
        LabsDirectory { path, n_own: 2 }
    }

    #[test]
    fn a_claimed_lab_cannot_be_claimed_again_and_is_gone_when_removed() {
        let labs = scratch();
        let lab = labs.lab(&"demo".parse().unwrap());
        let claim = lab.claim().unwrap();
        assert!(matches!(lab.claim(), Err(LabError::Exists { .. })));
        assert_eq!(labs.names().unwrap().len(), 1);
        lab.remove().unwrap();
        drop(claim);
        assert!(!labs.path().parent().unwrap().exists());
        assert_eq!(labs.names().unwrap().len(), 0);
    }

    #[test]
    fn two_labs_share_the_directories_above() {
        let labs = scratch();
        let (a, b) = (labs.lab(&"a".parse().unwrap()), labs.lab(&"b".parse().unwrap()));
        let _claims = (a.claim().unwrap(), b.claim().unwrap());
        a.remove().unwrap();
        assert!(b.path.exists());
        b.remove().unwrap();
        assert!(!labs.path().exists());
    }

    #[test]
    fn the_remains_of_a_dead_lab_are_cleared_by_the_next() {
        let labs = scratch();
        let lab = labs.lab(&"demo".parse().unwrap());
        drop(lab.claim().unwrap());
        fs::create_dir(lab.objects()).unwrap();
        fs::write(lab.objects().join("nodes.json"), "old").unwrap();
        let claim = lab.claim().unwrap();
        assert!(!lab.objects().exists());
        lab.remove().unwrap();
        drop(claim);
    }
}
