//! Which processes are whose: pods are found by the cgroups of their processes.
//!
//! kubelet names a pod's cgroup by the pod's uid, with the driver `cgroupfs` as `kubepods/burstable/pod<uid>`, with
//! `systemd` as `kubepods-burstable-pod<uid with _ for ->.slice` (1.34, `pkg/kubelet/cm/pod_container_manager_linux.go`,
//! `cgroup_manager_linux.go`); what lies in front of that depends on how the node's own processes are nested.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use hopwise_sys::NetNs;
use hopwise_wire::PodIdentity;

/// The most bytes of a process's list of cgroups: there are 14 hierarchies, with paths of at most 4096 bytes.
const LONGEST_LIST: u64 = 64 << 10;

/// A process of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    /// When it was started, in the kernel's ticks since it booted itself.
    started: u64,
    pid: u32,
    /// The cgroup of its container, below the pod's.
    container: String,
    /// The link's text: which network namespace it uses.
    network: PathBuf,
}

/// What runs of the pods that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    members: BTreeMap<String, Vec<Member>>,
    /// Processes that could not be looked at for lack of a right.
    n_hidden: usize,
    proc: PathBuf,
    of_node: PathBuf,
}

/// A pod that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its sandbox's network namespace.
    pub(crate) netns: NetNs,
    /// A process of its first container, where one runs.
    pub(crate) container: Option<u32>,
}

impl Found {
    /// Looks at every process that `proc` shows for the ones of `pods`. `of_node` is the link's text of the node's own
    /// network namespace.
    pub(crate) fn scan(proc: &Path, of_node: &Path, pods: &[PodIdentity]) -> io::Result<Self> {
        let wanted: BTreeSet<String> = pods.iter().map(|it| normal(&it.uid)).collect();
        let (proc, of_node) = (proc.to_owned(), of_node.to_owned());
        let mut found = Self { proc, of_node, ..Self::default() };
        if wanted.is_empty() {
            return Ok(found);
        }
        for entry in fs::read_dir(&found.proc)? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
            let Some((uid, container)) = membership(&found.proc, pid, &wanted) else { continue };
            match (network(&found.proc, pid), started(&found.proc, pid)) {
                (Ok(network), Some(started)) => {
                    let member = Member { started, pid, container, network };
                    found.members.entry(uid).or_default().push(member);
                }
                (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => found.n_hidden += 1,
                // It has ended meanwhile.
                _ => {}
            }
        }
        found.members.values_mut().for_each(|it| it.sort());
        Ok(found)
    }

    /// The pod, or why it cannot be reached.
    pub(crate) fn pod(&self, pod: &PodIdentity) -> Result<Running, String> {
        let uid = normal(&pod.uid);
        let Some(members) = self.members.get(&uid) else {
            return Err(match self.n_hidden {
                0 => format!("no process runs in its sandbox (uid {})", pod.uid),
                n => format!("{n} processes of pods could not be looked at: needs CAP_SYS_PTRACE"),
            });
        };
        // A runtime's monitor (conmon) lies in the pod's cgroup and not in its network.
        let inside: Vec<&Member> = members.iter().filter(|it| it.network != self.of_node).collect();
        // The sandbox is there before its containers, and so is its process.
        let Some(first) = inside.first() else {
            return Err("its processes use the node's own network namespace".to_owned());
        };
        let netns = NetNs::of_process(&self.proc, first.pid)
            .map_err(|error| format!("its network namespace could not be opened: {error}"))?;
        // Numbers are given again: is it still the one that was looked at?
        if first.network != Path::new(&format!("net:[{}]", netns.inode())) {
            return Err("it ended while it was looked at".to_owned());
        }
        let container = inside.iter().find(|it| it.container != first.container);
        Ok(Running { netns, container: container.map(|it| it.pid) })
    }
}

/// The wanted pod that a process belongs to, and its container's cgroup.
fn membership(proc: &Path, pid: u32, wanted: &BTreeSet<String>) -> Option<(String, String)> {
    let mut text = Vec::new();
    let file = fs::File::open(proc.join(format!("{pid}/cgroup"))).ok()?;
    file.take(LONGEST_LIST).read_to_end(&mut text).ok()?;
    of_cgroups(&String::from_utf8_lossy(&text), wanted)
}

/// The same from the list's text: lines of `NUMBER:CONTROLLERS:PATH`, cgroups(7).
fn of_cgroups(text: &str, wanted: &BTreeSet<String>) -> Option<(String, String)> {
    text.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let mut parts = path.split('/');
        let uid = parts.by_ref().find_map(|it| Some(uid_of(it)?).filter(|it| wanted.contains(it)))?;
        Some((uid, parts.next().unwrap_or_default().to_owned()))
    })
}

/// The uid in a part of a cgroup's path: `pod<uid>`, or `….-pod<uid>.slice`.
fn uid_of(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let at = if name.starts_with("pod") { 0 } else { name.rfind("-pod")? + 1 };
    Some(normal(&name[at + "pod".len()..])).filter(|it| !it.is_empty())
}

/// A uid as both drivers' spellings have it.
fn normal(uid: &str) -> String {
    uid.replace('_', "-").to_ascii_lowercase()
}

fn network(proc: &Path, pid: u32) -> io::Result<PathBuf> {
    fs::read_link(proc.join(format!("{pid}/ns/net")))
}

/// Field 22 of `/proc/PID/stat`, proc_pid_stat(5). The name in it may hold anything.
fn started(proc: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read(proc.join(format!("{pid}/stat"))).ok()?;
    let text = String::from_utf8_lossy(&stat);
    text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The processes of programs that write packet filters, as `/proc/PID/comm` shows their names: their roots hold the tools
/// that fit the rules.
///
/// Anybody can call a program so. Only those are taken that have all rights of the machine's first process (those of
/// privileged containers): what they bring along gets no right that they have not.
pub(crate) fn writers_of_rules(proc: &Path, init: u32) -> Vec<u32> {
    // kube-proxy first: most rules are its.
    const PROGRAMS: [&str; 6] =
        ["kube-proxy", "calico-node", "cilium-agent", "flanneld", "kindnetd", "kube-router"];
    let Some(rights) = rights(proc, init) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
        let Ok(name) = fs::read_to_string(proc.join(format!("{pid}/comm"))) else { continue };
        let Some(rank) = PROGRAMS.iter().position(|it| *it == name.trim_end()) else { continue };
        if self::rights(proc, pid).as_ref() == Some(&rights) {
            found.push((rank, pid));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|it| it.1).collect()
}

/// What a process may do: its capabilities, and the user namespace that they hold in.
fn rights(proc: &Path, pid: u32) -> Option<(String, PathBuf)> {
    let status = fs::read_to_string(proc.join(format!("{pid}/status"))).ok()?;
    let capabilities = status.lines().find_map(|it| it.strip_prefix("CapEff:"))?.trim().to_owned();
    Some((capabilities, fs::read_link(proc.join(format!("{pid}/ns/user"))).ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use hopwise_snapshot::PodName;
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0f3a9a1e-7c55-4f0e-9a58-2d1f6b1c7e01";
    const HASH: &str = "8f1e4a7c2b9d3e5f60718293a4b5c6d7";

    fn wanted() -> BTreeSet<String> {
        [UID, HASH].map(str::to_owned).into()
    }

    #[test]
    fn pods_are_known_in_every_spelling() {
        let underscored = UID.replace('-', "_");
        let paths = [
            format!("4:memory:/kubepods/burstable/pod{UID}/abc\n0::/"),
            format!("4:memory:/kubelab/n1/kubepods/pod{UID}/abc"),
            format!(
                "12:cpuset:/\n0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/abc"
            ),
            format!("0::/../../kubepods-besteffort-pod{underscored}.slice/abc"),
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{underscored}.slice/abc/init"
            ),
            format!("1:name=systemd:/kubepods/besteffort/pod{UID}/abc"),
        ];
        for path in paths {
            assert_eq!(of_cgroups(&path, &wanted()), Some((UID.to_owned(), "abc".to_owned())), "{path}");
        }
        let mirror =
            format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/x.scope");
        assert_eq!(of_cgroups(&mirror, &wanted()), Some((HASH.to_owned(), "x.scope".to_owned())));
    }

    #[test]
    fn what_is_no_pods_or_another_pods_is_not_taken() {
        for path in [
            "0::/",
            "0::/system.slice/podman.service",
            "0::/kubepods/pod",
            "nonsense",
            "",
            "0::/pod/-pod.slice",
        ] {
            assert_eq!(of_cgroups(path, &wanted()), None, "{path}");
        }
        let other = format!("0::/kubepods/pod{}", UID.replace('0', "1"));
        assert_eq!(of_cgroups(&other, &wanted()), None);
    }

    /// A process as a tree of files. `network` and `root` are links that lead nowhere, as far as they are only read.
    fn process(proc: &Path, pid: u32, started: u64, cgroup: &str, network: &str) {
        let directory = proc.join(pid.to_string());
        fs::create_dir_all(directory.join("ns")).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
        let stat = format!("{pid} (a) b) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0");
        fs::write(directory.join("stat"), stat).unwrap();
        symlink(network, directory.join("ns/net")).unwrap();
    }

    fn identity(uid: &str) -> PodIdentity {
        PodIdentity { name: PodName::new("default", "a"), uid: uid.to_owned() }
    }

    #[test]
    fn what_does_not_run_says_why() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), 7, 100, &format!("0::/kubepods/pod{UID}/crio-conmon-x.scope"), "net:[1]");
        process(proc.path(), 8, 90, "0::/system.slice", "net:[2]");
        let pods = [identity(UID), identity(HASH)];
        let found = Found::scan(proc.path(), Path::new("net:[1]"), &pods).unwrap();
        assert_eq!(found.pod(&pods[0]).unwrap_err(), "its processes use the node's own network namespace");
        let gone = format!("no process runs in its sandbox (uid {HASH})");
        assert_eq!(found.pod(&pods[1]).unwrap_err(), gone);
    }

    #[test]
    fn the_oldest_process_is_the_sandboxs_and_the_next_container_is_the_first() {
        // A monitor in the node's network, a sandbox and two containers, of which the second has the lower number.
        let proc = tempfile::tempdir().unwrap();
        let cgroup = |container: &str| format!("4:cpu:/kubepods/burstable/pod{UID}/{container}");
        process(proc.path(), 30, 10, &cgroup("monitor"), "net:[1]");
        process(proc.path(), 40, 11, &cgroup("sandbox"), "net:[5]");
        process(proc.path(), 21, 13, &cgroup("second"), "net:[5]");
        process(proc.path(), 50, 12, &cgroup("first"), "net:[5]");
        let found = Found::scan(proc.path(), Path::new("net:[1]"), &[identity(UID)]).unwrap();
        let order: Vec<u32> = found.members[UID].iter().map(|it| it.pid).collect();
        assert_eq!(order, [30, 40, 50, 21]);
        // The namespaces lead nowhere, so that they cannot be opened.
        assert!(
            found.pod(&identity(UID)).unwrap_err().starts_with("its network namespace could not be opened")
        );
    }

    #[test]
    fn tools_are_those_of_programs_that_are_root_of_the_machine_already() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: u32, name: &str, capabilities: &str, user: &str| {
            let directory = proc.path().join(pid.to_string());
            fs::create_dir_all(directory.join("ns")).unwrap();
            fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
            fs::write(directory.join("status"), format!("Name:\t{name}\nCapEff:\t{capabilities}\n")).unwrap();
            symlink(user, directory.join("ns/user")).unwrap();
        };
        process(1, "systemd", "000001ffffffffff", "user:[1]");
        process(20, "flanneld", "000001ffffffffff", "user:[1]");
        process(30, "kube-proxy", "000001ffffffffff", "user:[1]");
        process(40, "kube-proxy", "00000000a80425fb", "user:[1]");
        process(50, "kube-proxy", "000001ffffffffff", "user:[2]");
        process(60, "nginx", "000001ffffffffff", "user:[1]");
        assert_eq!(writers_of_rules(proc.path(), 1), [30, 20]);
        assert!(writers_of_rules(proc.path(), 99).is_empty());
    }

    proptest! {
        #[test]
        fn no_list_of_cgroups_panics(text in "(.|\n){0,200}") {
            let _ = of_cgroups(&text, &wanted());
        }

        #[test]
        fn no_part_of_a_path_panics(part in "[-a-z.]{0,6}pod.{0,40}") {
            let _ = uid_of(&part);
        }
    }
}
