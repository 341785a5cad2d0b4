//! The processes of a node, by the network namespace that they use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use hopwise_snapshot::{Observed, Process, Reason};

use crate::{Limits, reason};

/// A thread of the kernel (`PF_KTHREAD`, `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The processes that a process file system shows, by the inode of their network namespace.
///
/// Threads of the kernel are left out: they come and go, and no packet is theirs. So are zombies, which use
/// no namespace any more.
#[derive(Debug)]
pub(crate) struct Processes(Result<BTreeMap<u64, Vec<Process>>, Reason>);

impl Processes {
    /// Looks at every process below `proc` once.
    pub(crate) fn read(proc: &Path, limits: &Limits) -> Self {
        Self(read(proc, limits.processes))
    }

    /// Those of one namespace, by number.
    pub(crate) fn of(&self, namespace: u64) -> Observed<Vec<Process>> {
        match &self.0 {
            Ok(all) => Observed::Known(all.get(&namespace).cloned().unwrap_or_default()),
            Err(reason) => Observed::NotCollected(reason.clone()),
        }
    }

    /// Which programs of a namespace hold these sockets, as far as it can be seen. Of several, the one with
    /// the lowest number.
    pub(crate) fn holders(
        &self,
        proc: &Path,
        namespace: u64,
        sockets: &[u32],
        limits: &Limits,
    ) -> BTreeMap<u32, String> {
        let mut wanted: BTreeSet<u32> = sockets.iter().copied().filter(|it| *it != 0).collect();
        let mut holders = BTreeMap::new();
        let mut n_left = limits.open_files;
        let Ok(all) = &self.0 else { return holders };
        for process in all.get(&namespace).into_iter().flatten() {
            if wanted.is_empty() {
                break;
            }
            let Ok(files) = fs::read_dir(proc.join(process.pid.to_string()).join("fd")) else { continue };
            for file in files.flatten() {
                n_left = match n_left.checked_sub(1) {
                    Some(left) => left,
                    None => return holders,
                };
                let inode = fs::read_link(file.path()).ok().and_then(|it| numbered(&it, "socket:["));
                if let Some(inode) = inode.and_then(|it| u32::try_from(it).ok())
                    && wanted.remove(&inode)
                {
                    holders.insert(inode, process.program.clone());
                }
            }
        }
        holders
    }
}

fn read(proc: &Path, limit: usize) -> Result<BTreeMap<u64, Vec<Process>>, Reason> {
    let failed = |error: &io::Error| reason::of_io(error, "reading the list of processes");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(proc).map_err(|it| failed(&it))? {
        let name = entry.map_err(|it| failed(&it))?.file_name();
        numbers.extend(name.to_str().and_then(|it| it.parse::<u32>().ok()));
    }
    if numbers.len() > limit {
        return Err(Reason::TooLarge { limit: limit as u64 });
    }
    numbers.sort_unstable();
    let mut processes: BTreeMap<u64, Vec<Process>> = BTreeMap::new();
    for pid in numbers {
        let directory = proc.join(pid.to_string());
        let Some(process) = fs::read(directory.join("stat")).ok().and_then(|it| process(pid, &it)) else {
            continue;
        };
        match fs::read_link(directory.join("ns/net")) {
            Ok(link) => {
                let namespace = numbered(&link, "net:[")
                    .ok_or_else(|| Reason::Failed(format!("{}: not a namespace", link.display())))?;
                processes.entry(namespace).or_default().push(process);
            }
            // One process that cannot be placed makes every list one that may lack something.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Reason::NotPermitted("CAP_SYS_PTRACE over the node's processes".to_owned()));
            }
            Err(_) => {}
        }
    }
    Ok(processes)
}

/// Reads `/proc/PID/stat`: `PID (NAME) STATE PARENT GROUP SESSION TERMINAL FOREGROUND FLAGS …`. The name may
/// hold anything, parentheses too. None for threads of the kernel.
fn process(pid: u32, stat: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(stat);
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let mut words = text.get(close + 1..)?.split_ascii_whitespace();
    let state = words.next()?.to_owned();
    let flags: u64 = words.nth(5)?.parse().ok()?;
    let program = text.get(open + 1..close)?.to_owned();
    (flags & KERNEL_THREAD == 0).then_some(Process { pid, program, state })
}

/// The number in a link like `net:[4026531840]`.
fn numbered(link: &Path, before: &str) -> Option<u64> {
    link.to_str()?.strip_prefix(before)?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_own_process_is_found_with_its_socket() {
        let limits = Limits::default();
        let proc = Path::new("/proc");
        let namespace = hopwise_sys::NetNs::current().unwrap().inode();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let inode = numbered(&fs::read_link(format!("/proc/self/fd/{fd}")).unwrap(), "socket:[").unwrap();
        // Only the own process: others may be another user's.
        let own = fs::read("/proc/self/stat").unwrap();
        let own = process(std::process::id(), &own).unwrap();
        let processes = Processes(Ok(BTreeMap::from([(namespace, vec![own.clone()])])));
        assert_eq!(processes.of(namespace), Observed::Known(vec![own.clone()]));
        assert_eq!(processes.of(1), Observed::Known(Vec::new()));
        let inode = u32::try_from(inode).unwrap();
        let holders = processes.holders(proc, namespace, &[inode, 0], &limits);
        assert_eq!(holders, BTreeMap::from([(inode, own.program)]));
        let none = Limits { open_files: 0, ..limits };
        assert!(processes.holders(proc, namespace, &[inode], &none).is_empty());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"12 (a) b (c) S 1 12 12 0 -1 4194304 1 2";
        let wanted = Process { pid: 12, program: "a) b (c".to_owned(), state: "S".to_owned() };
        assert_eq!(process(12, stat), Some(wanted));
        assert_eq!(process(2, b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"), None);
        assert_eq!(process(2, b")("), None);
        assert_eq!(process(2, b""), None);
    }

    #[test]
    fn too_many_processes_are_not_looked_at() {
        let none = Limits { processes: 0, ..Limits::default() };
        let processes = Processes::read(Path::new("/proc"), &none);
        assert_eq!(processes.of(1), Observed::NotCollected(Reason::TooLarge { limit: 0 }));
    }
}
