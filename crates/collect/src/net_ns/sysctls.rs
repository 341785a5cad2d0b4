//! All switches below `/proc/sys/net` that the calling thread's namespace has.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    time::Instant,
};

use hopwise_snapshot::{Observed, Reason, SysctlKey, Sysctls};

use crate::reason;

/// How many bytes the first read of a switch asks for.
const USUAL: usize = 4096;

/// How many bytes the last one asks for. The longest is a list of every second port: 6 bytes for each.
const LARGEST: usize = 256 * 1024;

/// Reads all switches if there are at most `limit`.
pub(super) fn sysctls(limit: usize, deadline: Instant) -> Observed<Sysctls> {
    let root = Path::new("/proc/sys");
    let top = root.join("net");
    let mut sysctls = Sysctls::default();
    let mut directories = vec![top.clone()];
    let mut buffer = vec![0; USUAL];
    while let Some(directory) = directories.pop() {
        if Instant::now() > deadline {
            return Observed::NotCollected(Reason::TimedOut);
        }
        let entries = match fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            // An interface was removed while its directory was on the list.
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory != top => continue,
            Err(error) => return Observed::NotCollected(reason::of_io(&error, "reading /proc/sys/net")),
        };
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                directories.push(path);
            } else if sysctls.values.len() + sysctls.unreadable.len() < limit {
                take(&mut sysctls, root, &path, &mut buffer);
            } else {
                return Observed::NotCollected(Reason::TooLarge { limit: limit as u64 });
            }
        }
    }
    Observed::Known(sysctls)
}

fn take(sysctls: &mut Sysctls, root: &Path, path: &Path, buffer: &mut Vec<u8>) {
    let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str).map(SysctlKey::from_path) else {
        return;
    };
    let unreadable = match path.file_name().and_then(|it| it.to_str()) {
        Some(name) if is_secret(name) => Reason::Failed("a secret, never read".to_owned()),
        _ => match read(path, buffer) {
            Ok(value) => {
                sysctls.values.insert(key, value);
                return;
            }
            // The interface is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(_) if is_write_only(path) => Reason::Unsupported("the switch can only be written".to_owned()),
            Err(error) => reason::of_io(&error, "reading the switch"),
        },
    };
    sysctls.unreadable.insert(key, unreadable);
}

/// The keys that SYN cookies of fast open are made with, and the seeds of private addresses.
fn is_secret(name: &str) -> bool {
    name.ends_with("_key") || name.ends_with("_secret")
}

fn is_write_only(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o444 == 0)
}

/// The value without its final newline.
///
/// Many switches answer a read at their start alone, with as much as the caller has room for
/// (`proc_dointvec`, `proc_do_large_bitmap`, `kernel/sysctl.c`), so one that fills the buffer is read again
/// from the start with a larger one.
fn read(path: &Path, buffer: &mut Vec<u8>) -> io::Result<String> {
    let file = File::open(path)?;
    let mut n = file.read_at(buffer, 0)?;
    while n == buffer.len() && n < LARGEST {
        buffer.resize(n * 8, 0);
        n = file.read_at(buffer, 0)?;
    }
    let text = String::from_utf8_lossy(&buffer[..n]);
    let value = text.strip_suffix('\n').unwrap_or(&text).to_owned();
    buffer.truncate(USUAL);
    Ok(value)
}
