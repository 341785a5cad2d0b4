//! Mount points. mount(2).

use std::{io, path::Path};

use nix::mount::{MntFlags, MsFlags};

/// Keeps what is mounted from now on in the calling thread's mount namespace to that namespace.
///
/// A new mount namespace is a peer of the old one: without this, mounts made in it appear in the old one too.
pub fn keep_to_this_namespace() -> io::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}

/// Mounts an empty file system in memory, at most `size` (as mount(8) writes it: `16m`), with `mode`.
pub fn tmpfs(target: &Path, size: &str, mode: u32) -> io::Result<()> {
    let options = format!("size={size},mode={mode:o}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(io::Error::from)
}

/// Mounts the `/proc` of the calling process's own process namespace.
///
/// `EPERM` in a user namespace whose creator saw a `/proc` with parts hidden, as in most containers
/// (`fs/namespace.c`, `mount_too_revealing`).
pub fn proc(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("proc"), target, Some("proc"), flags, None::<&str>).map_err(io::Error::from)
}

/// Mounts a `/sys` whose `class/net` is that of the calling thread's network namespace.
///
/// Fails as [`proc`] does.
pub fn sysfs(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("sysfs"), target, Some("sysfs"), flags, None::<&str>).map_err(io::Error::from)
}

/// Shows `source` (a file, also of a namespace) at `target` too.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    nix::mount::mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(io::Error::from)
}

/// Takes the topmost mount at `target` away as soon as nobody uses it.
pub fn detach(target: &Path) -> io::Result<()> {
    nix::mount::umount2(target, MntFlags::MNT_DETACH).map_err(io::Error::from)
}
