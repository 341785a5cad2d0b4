//! Files below a root directory that is not this process's own.
//!
//! A node's `/etc/resolv.conf` may be an absolute symbolic link, and a pod's files are written by whoever
//! runs the pod. Every path is therefore resolved by the kernel inside the root (`RESOLVE_IN_ROOT`), and
//! only regular files are read, so that neither a link nor a FIFO nor a device leads elsewhere or blocks.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
        },
    },
    path::Path,
    time::SystemTime,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat},
    libc,
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

/// A directory that stands for `/`.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

/// A regular file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFile {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last written, where the file system says so.
    pub modified: Option<SystemTime>,
    /// Where it points to, if the path is a symbolic link.
    pub link_target: Option<OsString>,
}

/// What a path leads to, other than a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
    /// A character or block device.
    Device,
    /// A socket.
    Socket,
    /// Something else.
    Other,
}

/// Why a file or a directory could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is nothing at the path.
    #[error("not found")]
    NotFound,
    /// The caller may not read it.
    #[error("not permitted")]
    NotPermitted,
    /// It is not what was asked for.
    #[error("is a {0:?}")]
    WrongKind(FileKind),
    /// It is larger than the caller allows: bytes of a file, entries of a directory.
    #[error("larger than {limit}")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The kernel is older than 5.6.
    #[error("the kernel has no openat2")]
    NoOpenat2,
    /// Reading failed in another way.
    #[error("reading failed")]
    Io {
        /// What the kernel answered.
        source: io::Error,
    },
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        match errno {
            // A path through something that is no directory leads nowhere.
            Errno::ENOENT | Errno::ENOTDIR => Self::NotFound,
            Errno::EACCES | Errno::EPERM => Self::NotPermitted,
            Errno::ENOSYS => Self::NoOpenat2,
            other => Self::Io { source: other.into() },
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(number) => Errno::from_raw(number).into(),
            None => Self::Io { source },
        }
    }
}

impl Root {
    /// The directory at `path`, which may be a link of the process file system (`/proc/PID/root`).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?.into();
        Ok(Self { directory })
    }

    /// Reads the regular file at `path` if it has at most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> Result<RootFile, ReadError> {
        let link_target = self.link_target(path)?;
        // Opening a device can already do something, so the kind is asked for before.
        regular(&self.look_at(path, OFlag::empty())?.metadata()?)?;
        let file = File::from(self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?);
        let metadata = file.metadata()?;
        regular(&metadata)?;
        if metadata.len() > limit {
            return Err(ReadError::TooLarge { limit });
        }
        // Files of the process file system have no length beforehand.
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(ReadError::TooLarge { limit });
        }
        let (mode, modified) = (metadata.mode() & 0o7777, metadata.modified().ok());
        Ok(RootFile { bytes, mode, modified, link_target })
    }

    /// Where the path points to, if it is a symbolic link.
    pub fn link_target(&self, path: &Path) -> Result<Option<OsString>, ReadError> {
        let entry = self.look_at(path, OFlag::O_NOFOLLOW)?;
        if entry.metadata()?.is_symlink() { Ok(Some(readlinkat(&entry, "")?)) } else { Ok(None) }
    }

    /// The sorted names in the directory at `path` if there are at most `limit`.
    pub fn names(&self, path: &Path, limit: usize) -> Result<Vec<OsString>, ReadError> {
        let opened = self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(opened)?.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == limit {
                return Err(ReadError::TooLarge { limit: limit as u64 });
            }
            names.push(name.to_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Is there a program at `path`: a regular file that somebody may execute?
    pub fn has_program(&self, path: &Path) -> bool {
        let seen = self.look_at(path, OFlag::empty());
        let metadata = seen.and_then(|it| it.metadata().map_err(ReadError::from));
        metadata.is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0)
    }

    /// Writes the regular file at `path`, in place: what it was made by, its mode and its mounts stay. One that is not
    /// there is made with `mode`.
    ///
    /// Where writing fails (a full disk), what was in the file is put back; with more than `limit` bytes it is refused.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32, limit: u64) -> Result<(), ReadError> {
        let before = match self.read(path, limit) {
            Ok(file) => Some(file.bytes),
            Err(ReadError::NotFound) => None,
            Err(error) => return Err(error),
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut file = File::from(self.open_with(path, flags, Mode::from_bits_truncate(mode))?);
        regular(&file.metadata()?)?;
        // Not cut to nothing first: where there is no room, the old blocks are still the file's own.
        let written = replace(&mut file, bytes);
        if let Err(error) = written {
            match before {
                Some(before) => drop(replace(&mut file, &before)),
                None => drop(self.remove(path)),
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Removes the file or symbolic link at `path`.
    pub fn remove(&self, path: &Path) -> Result<(), ReadError> {
        let name = path.file_name().ok_or(ReadError::WrongKind(FileKind::Directory))?;
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("/"));
        let parent = self.resolve(parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        Ok(unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Opens a path without opening what it leads to.
    fn look_at(&self, path: &Path, flags: OFlag) -> Result<File, ReadError> {
        self.resolve(path, OFlag::O_PATH | flags).map(File::from)
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, ReadError> {
        self.open_with(path, flags, Mode::empty())
    }

    fn open_with(&self, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, ReadError> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // EAGAIN: something was renamed while `..` was resolved. openat2(2) says to try again.
        let mut attempts = 0;
        loop {
            match openat2(&self.directory, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if attempts < 32 => attempts += 1,
                other => return Ok(other?),
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Makes these bytes all that is in a file, also on the disk.
fn replace(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

fn regular(metadata: &Metadata) -> Result<(), ReadError> {
    let kind = metadata.file_type();
    let wrong = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => FileKind::Directory,
        _ if kind.is_fifo() => FileKind::Fifo,
        _ if kind.is_char_device() || kind.is_block_device() => FileKind::Device,
        _ if kind.is_socket() => FileKind::Socket,
        _ => FileKind::Other,
    };
    Err(ReadError::WrongKind(wrong))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for path in ["etc", "run/systemd/resolve"] {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    fn read(root: &Root, path: &str) -> Result<RootFile, ReadError> {
        root.read(Path::new(path), 100)
    }

    #[test]
    fn an_absolute_link_leads_to_a_file_of_the_root() {
        let (directory, root) = root();
        std::fs::write(directory.path().join("run/systemd/resolve/stub.conf"), "nameserver 127.0.0.53\n")
            .unwrap();
        symlink("/run/systemd/resolve/stub.conf", directory.path().join("etc/resolv.conf")).unwrap();
        symlink("../../../../run/systemd/resolve/stub.conf", directory.path().join("etc/other")).unwrap();
        let file = read(&root, "/etc/resolv.conf").unwrap();
        assert_eq!(file.bytes, b"nameserver 127.0.0.53\n");
        assert_eq!(file.link_target.unwrap(), "/run/systemd/resolve/stub.conf");
        assert!(file.modified.is_some());
        assert_eq!(read(&root, "etc/other").unwrap().bytes, b"nameserver 127.0.0.53\n");
    }

    #[test]
    fn a_link_to_a_file_outside_finds_nothing() {
        let (directory, root) = root();
        let outside = tempfile::NamedTempFile::new().unwrap();
        symlink(outside.path(), directory.path().join("etc/out")).unwrap();
        assert!(matches!(read(&root, "/etc/out"), Err(ReadError::NotFound)));
        assert!(matches!(read(&root, "/../../../etc/out"), Err(ReadError::NotFound)));
        assert!(matches!(read(&root, "/etc/out/below"), Err(ReadError::NotFound)));
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_blocks() {
        let (directory, root) = root();
        let fifo = directory.path().join("etc/fifo");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(directory.path().join("etc/socket")).unwrap();
        assert!(matches!(read(&root, "/etc/fifo"), Err(ReadError::WrongKind(FileKind::Fifo))));
        assert!(matches!(read(&root, "/etc/socket"), Err(ReadError::WrongKind(FileKind::Socket))));
        assert!(matches!(read(&root, "/etc"), Err(ReadError::WrongKind(FileKind::Directory))));
        drop(socket);
        let machine = Root::open(Path::new("/")).unwrap();
        assert!(matches!(read(&machine, "/dev/zero"), Err(ReadError::WrongKind(FileKind::Device))));
    }

    #[test]
    fn the_limit_holds_also_for_files_without_a_length() {
        let (directory, root) = root();
        let path = directory.path().join("etc/large");
        std::fs::write(&path, vec![b'x'; 100]).unwrap();
        assert_eq!(read(&root, "/etc/large").unwrap().bytes.len(), 100);
        std::fs::write(&path, vec![b'x'; 101]).unwrap();
        assert!(matches!(read(&root, "/etc/large"), Err(ReadError::TooLarge { limit: 100 })));
        let machine = Root::open(Path::new("/")).unwrap();
        assert!(matches!(
            machine.read(Path::new("/proc/self/status"), 10),
            Err(ReadError::TooLarge { limit: 10 })
        ));
    }

    #[test]
    fn a_file_is_written_in_place_and_a_new_one_is_made() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, root) = root();
        let path = directory.path().join("etc/hosts");
        std::fs::write(&path, "a longer text than the next").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        symlink("/etc/hosts", directory.path().join("etc/link")).unwrap();
        root.write(Path::new("/etc/link"), b"short", 0o600, 100).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.ino(), metadata.mode() & 0o777), (inode, 0o640));
        root.write(Path::new("/etc/new"), b"new", 0o600, 100).unwrap();
        assert_eq!(read(&root, "/etc/new").unwrap().mode, 0o600);
        assert!(matches!(root.write(Path::new("/none/new"), b"", 0o600, 100), Err(ReadError::NotFound)));
        assert!(matches!(root.write(Path::new("/etc"), b"", 0o600, 100), Err(ReadError::WrongKind(_))));
        root.remove(Path::new("/etc/link")).unwrap();
        assert!(path.exists() && !directory.path().join("etc/link").exists());
        assert!(matches!(root.remove(Path::new("/etc/link")), Err(ReadError::NotFound)));
        assert!(root.remove(Path::new("/etc")).is_err());
    }

    #[test]
    fn magic_links_are_not_followed() {
        let machine = Root::open(Path::new("/")).unwrap();
        let error = read(&machine, "/proc/self/exe").unwrap_err();
        assert!(
            matches!(&error, ReadError::Io { source } if source.raw_os_error() == Some(libc::ELOOP)),
            "{error:?}"
        );
    }

    #[test]
    fn names_are_sorted_and_bounded() {
        let (directory, root) = root();
        for name in ["b", "a"] {
            std::fs::write(directory.path().join("etc").join(name), "").unwrap();
        }
        assert_eq!(root.names(Path::new("/etc"), 2).unwrap(), ["a", "b"]);
        assert!(matches!(root.names(Path::new("/etc"), 1), Err(ReadError::TooLarge { limit: 1 })));
        assert!(matches!(root.names(Path::new("/none"), 1), Err(ReadError::NotFound)));
        assert!(matches!(root.names(Path::new("/etc/a"), 1), Err(ReadError::NotFound)));
    }

    #[test]
    fn programs_are_told_from_other_files() {
        let machine = Root::open(Path::new("/")).unwrap();
        assert!(machine.has_program(Path::new("/bin/sh")));
        assert!(!machine.has_program(Path::new("/etc/passwd")));
        assert!(!machine.has_program(Path::new("/bin")));
    }
}
