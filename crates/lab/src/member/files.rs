//! The file system of a member: the machine's programs, and `/etc`, `/run` and the rest of its own.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use hopwise_sys::mount;

/// What is written where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(Vec<(String, Content)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>, u32),
    Link(String),
    Directory,
}

impl Tree {
    /// A text file that everybody may read.
    pub(crate) fn file(&mut self, path: &str, text: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push((path.to_owned(), Content::File(text.into(), 0o644)));
        self
    }

    /// An empty file that may be run, in place of a program that the lab has no use for.
    pub(crate) fn program(&mut self, path: &str) -> &mut Self {
        self.0.push((path.to_owned(), Content::File(Vec::new(), 0o755)));
        self
    }

    /// An empty directory.
    pub(crate) fn directory(&mut self, path: &str) -> &mut Self {
        self.0.push((path.to_owned(), Content::Directory));
        self
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.0.push((path.to_owned(), Content::Link(target.to_owned())));
        self
    }

    /// What programs want of `/etc`, as this machine has it. What cannot be read is left out.
    pub(crate) fn of_this_machine() -> Self {
        let mut tree = Self::default();
        for name in COPIED {
            tree.copy(Path::new("/etc").join(name).as_path());
        }
        tree.link("/etc/mtab", "../proc/self/mounts");
        tree.link("/etc/os-release", "../usr/lib/os-release");
        tree
    }

    fn copy(&mut self, path: &Path) {
        let (Some(text), Ok(kind)) = (path.to_str(), fs::symlink_metadata(path)) else { return };
        if kind.is_symlink() {
            if let Ok(target) = fs::read_link(path)
                && let Some(target) = target.to_str()
            {
                self.link(text, target);
            }
        } else if kind.is_dir() {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            for entry in entries {
                self.copy(&entry.path());
            }
        } else if kind.is_file()
            && kind.len() < LARGEST_COPY
            && let Ok(bytes) = fs::read(path)
        {
            self.0.push((text.to_owned(), Content::File(bytes, kind.permissions().mode() & 0o777)));
        }
    }

    fn write(&self) -> io::Result<()> {
        for (path, content) in &self.0 {
            let path = Path::new(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            match content {
                Content::File(bytes, mode) => {
                    fs::write(path, bytes)?;
                    fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
                }
                Content::Link(target) => symlink(target, path)?,
                Content::Directory => fs::create_dir_all(path)?,
            }
        }
        Ok(())
    }
}

/// What of the machine's `/etc` a member gets: what makes its programs work, nothing about its network.
const COPIED: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "debian_version",
    "default/locale",
    "ethertypes",
    "group",
    "inputrc",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "passwd",
    "profile",
    "protocols",
    "rpc",
    "services",
    "shells",
    "ssl/certs/ca-certificates.crt",
    "terminfo",
    "timezone",
];

/// A file of the machine's `/etc` above this size, in bytes, is not copied.
const LARGEST_COPY: u64 = 2 << 20;

/// The directories that become empty ones of the member's own.
const OWN: &[(&str, u32)] =
    &[("/etc", 0o755), ("/run", 0o755), ("/var/lib", 0o755), ("/var/log", 0o755), ("/opt", 0o755)];

/// Gives the calling process, which is alone in new mount, process and network namespaces, a file system in
/// which only `tree` is below `/etc`, `/run`, `/var/lib`, `/var/log` and `/opt`, with its own `/proc` and `/sys`.
///
/// Returns what the kernel did not allow and what the member does without, in words.
pub(crate) fn furnish(tree: &Tree) -> io::Result<Vec<String>> {
    mount::keep_to_this_namespace()?;
    for (path, mode) in OWN {
        // A machine without /opt needs none in its members.
        if Path::new(path).is_dir() {
            mount::tmpfs(Path::new(path), "16m", *mode)?;
        }
    }
    tree.write()?;
    let mut lacks = Vec::new();
    if let Err(error) = mount::proc(Path::new("/proc")) {
        lacks.push(format!("a /proc of its own ({error}): it shows the machine's processes"));
    }
    if let Err(error) = mount::sysfs(Path::new("/sys")) {
        lacks.push(format!("a /sys of its own ({error}): /sys/class/net shows the machine's interfaces"));
    }
    Ok(lacks)
}
