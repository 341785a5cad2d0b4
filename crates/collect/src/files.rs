//! The files of a node and of a pod that say how its network is meant to be.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use hopwise_controllers::container_runtime::{CONTAINERD_CONFIG, cni_directories};
use hopwise_snapshot::{File, FileContent, Observed, Reason};
use hopwise_sys::{Root, RootFile};
use jiff::Timestamp;

use crate::{Limits, reason, redact};

/// Files of a node.
const OF_A_NODE: [&str; 37] = [
    "/etc/NetworkManager/NetworkManager.conf",
    "/etc/containerd/config.toml",
    "/etc/default/kubelet",
    "/etc/default/ufw",
    "/etc/docker/daemon.json",
    "/etc/firewalld/firewalld.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/iptables/rules.v4",
    "/etc/iptables/rules.v6",
    "/etc/kubernetes/kubelet.conf",
    "/etc/modules",
    "/etc/network/interfaces",
    "/etc/nftables.conf",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/rancher/k3s/config.yaml",
    "/etc/rancher/rke2/config.yaml",
    "/etc/resolv.conf",
    "/etc/sysconfig/ip6tables",
    "/etc/sysconfig/iptables",
    "/etc/sysconfig/kubelet",
    "/etc/sysconfig/nftables.conf",
    "/etc/sysctl.conf",
    "/etc/systemd/networkd.conf",
    "/etc/systemd/resolved.conf",
    "/etc/ufw/sysctl.conf",
    "/etc/ufw/ufw.conf",
    "/run/flannel/subnet.env",
    "/run/systemd/resolve/resolv.conf",
    "/run/systemd/resolve/stub-resolv.conf",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/kube-proxy/config.conf",
    "/var/lib/kube-proxy/kubeconfig.conf",
];

/// Directories of a node whose files are read, and what their names must end with.
///
/// Those of sysctl.d are all that procps (`--system`, `sysctl.c`) and systemd search, in no order.
const DIRECTORIES_OF_A_NODE: [(&str, &str); 24] = [
    ("/etc/NetworkManager/conf.d", ".conf"),
    ("/etc/cni/net.d", ""),
    ("/etc/modprobe.d", ".conf"),
    ("/etc/modules-load.d", ".conf"),
    ("/etc/netplan", ".yaml"),
    ("/etc/network/interfaces.d", ""),
    ("/etc/sysctl.d", ".conf"),
    ("/etc/systemd/network", ""),
    ("/etc/systemd/networkd.conf.d", ".conf"),
    ("/etc/systemd/resolved.conf.d", ".conf"),
    ("/lib/modules-load.d", ".conf"),
    ("/lib/sysctl.d", ".conf"),
    ("/run/modules-load.d", ".conf"),
    ("/run/sysctl.d", ".conf"),
    ("/run/systemd/network", ""),
    ("/usr/lib/modules-load.d", ".conf"),
    ("/usr/lib/sysctl.d", ".conf"),
    ("/usr/lib/systemd/network", ""),
    ("/usr/lib/systemd/networkd.conf.d", ".conf"),
    ("/usr/local/lib/modules-load.d", ".conf"),
    ("/usr/local/lib/sysctl.d", ".conf"),
    ("/usr/local/lib/systemd/network", ""),
    ("/var/lib/kube-proxy", ""),
    ("/var/lib/kubelet/config.d", ""),
];

/// Directories of a node of which the names alone are kept.
const NAMES_OF_A_NODE: [&str; 2] = ["/opt/cni/bin", "/var/lib/cni/networks"];

/// Files of a pod: its resolver's.
const OF_A_POD: [&str; 3] = ["/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Files by path, and directories by path.
pub(crate) type Files = BTreeMap<String, Observed<File>>;
pub(crate) type Directories = BTreeMap<String, Observed<Vec<String>>>;

/// The files and directories of a node.
pub(crate) fn of_node(root: &Root, limits: &Limits) -> (Files, Directories) {
    let mut files = exactly(root, &OF_A_NODE, limits);
    let mut directories = Directories::new();
    for (directory, end) in DIRECTORIES_OF_A_NODE {
        // Where /lib is /usr/lib its files have been read under that name.
        if directory.starts_with("/lib/") && matches!(root.link_target(Path::new("/lib")), Ok(Some(_))) {
            continue;
        }
        let names = names(root, directory, limits);
        for name in names.known().into_iter().flatten().filter(|it| it.ends_with(end)) {
            let path = format!("{directory}/{name}");
            match file(root, &path, limits) {
                // A directory in a directory, or a file that has gone since.
                None | Some(Observed::Absent) => {}
                Some(found) => {
                    files.insert(path, found);
                }
            }
        }
        directories.insert(directory.to_owned(), names);
    }
    for directory in NAMES_OF_A_NODE {
        directories.insert(directory.to_owned(), names(root, directory, limits));
    }
    of_runtime(root, limits, &mut files, &mut directories);
    for network in directories["/var/lib/cni/networks"].known().cloned().into_iter().flatten() {
        let path = format!("/var/lib/cni/networks/{network}");
        directories.insert(path.clone(), names(root, &path, limits));
    }
    (files, directories)
}

/// What lies in the directories of network plugins that the container runtime is told to use instead of the usual ones.
fn of_runtime(root: &Root, limits: &Limits, files: &mut Files, directories: &mut Directories) {
    let Some(Observed::Known(config)) = files.get(CONTAINERD_CONFIG) else { return };
    let text = String::from_utf8_lossy(config.content.bytes());
    let Ok(told) = cni_directories(&text) else { return };
    for directory in told.plugins {
        directories.entry(directory).or_insert_with_key(|it| names(root, it, limits));
    }
    if directories.contains_key(&told.configurations) {
        return;
    }
    let listed = names(root, &told.configurations, limits);
    for name in listed.known().into_iter().flatten() {
        let path = format!("{}/{name}", told.configurations);
        if let Some(found @ (Observed::Known(_) | Observed::NotCollected(_))) = file(root, &path, limits) {
            files.insert(path, found);
        }
    }
    directories.insert(told.configurations, listed);
}

/// The files of a pod.
pub(crate) fn of_pod(root: &Root, limits: &Limits) -> Files {
    exactly(root, &OF_A_POD, limits)
}

/// The files of a pod whose root cannot be read.
pub(crate) fn of_unreadable_pod(reason: &Reason) -> Files {
    OF_A_POD.iter().map(|it| ((*it).to_owned(), Observed::NotCollected(reason.clone()))).collect()
}

/// Files and directories of a node whose root cannot be read.
pub(crate) fn of_unreadable_node(reason: &Reason) -> (Files, Directories) {
    let files = OF_A_NODE.iter().map(|it| ((*it).to_owned(), Observed::NotCollected(reason.clone())));
    let listed = DIRECTORIES_OF_A_NODE.iter().map(|(it, _)| *it).chain(NAMES_OF_A_NODE);
    let directories = listed.map(|it| (it.to_owned(), Observed::NotCollected(reason.clone())));
    (files.collect(), directories.collect())
}

fn exactly(root: &Root, paths: &[&str], limits: &Limits) -> Files {
    let read = |path: &&str| {
        let is_no_file = || {
            let what = format!("{path} is a directory");
            Observed::NotCollected(Reason::Failed(what))
        };
        ((*path).to_owned(), file(root, path, limits).unwrap_or_else(is_no_file))
    };
    paths.iter().map(read).collect()
}

/// The file at a path; none where a directory is there.
fn file(root: &Root, path: &str, limits: &Limits) -> Option<Observed<File>> {
    use hopwise_sys::{FileKind, ReadError};
    match root.read(Path::new(path), limits.file) {
        Ok(file) => Some(Observed::Known(observed(file))),
        Err(ReadError::WrongKind(FileKind::Directory)) => None,
        Err(error) => Some(reason::of_read(&error, path)),
    }
}

/// The file as it leaves the node: without its secrets.
fn observed(file: RootFile) -> File {
    let (bytes, n_redacted) = redact::bytes(&file.bytes);
    File {
        content: match String::from_utf8(bytes) {
            Ok(text) => FileContent::Text(text),
            Err(error) => FileContent::Bytes(error.into_bytes()),
        },
        mode: file.mode,
        modified: file.modified.and_then(|it| Timestamp::try_from(it).ok()),
        link_target: file.link_target.map(|it| PathBuf::from(it).to_string_lossy().into_owned()),
        n_redacted,
    }
}

fn names(root: &Root, path: &str, limits: &Limits) -> Observed<Vec<String>> {
    match root.names(Path::new(path), limits.directory) {
        Ok(names) => Observed::Known(names.into_iter().map(lossy).collect()),
        Err(error) => reason::of_read(&error, path),
    }
}

fn lossy(name: OsString) -> String {
    name.into_string().unwrap_or_else(|it| it.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn node() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for path in
            ["etc/sysctl.d", "etc/cni/net.d/sub", "usr/lib/sysctl.d", "var/lib/cni/networks/cbr0", "run"]
        {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        symlink("usr/lib", directory.path().join("lib")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    #[test]
    fn a_file_that_is_not_there_is_absent_and_its_directory_lists_the_others() {
        let (directory, root) = node();
        let write = |path: &str, text: &str| std::fs::write(directory.path().join(path), text).unwrap();
        write("etc/sysctl.d/k8s.conf", "net.ipv4.ip_forward=1\n");
        write("etc/sysctl.d/README", "not read\n");
        write("usr/lib/sysctl.d/50-default.conf", "x=1\n");
        write("etc/cni/net.d/10-calico.conflist", "{\"k8s_auth_token\": \"abc\"}");
        write("var/lib/cni/networks/cbr0/10.244.1.2", "id");
        write("etc/hosts", "127.0.0.1 caf\u{e9}");
        std::fs::write(directory.path().join("etc/hostname"), b"n\xff1").unwrap();
        symlink("../run/none", directory.path().join("etc/resolv.conf")).unwrap();

        let (files, directories) = of_node(&root, &Limits::default());
        assert_eq!(files["/etc/resolv.conf"], Observed::Absent);
        assert_eq!(files["/etc/sysctl.conf"], Observed::Absent);
        let text = |path: &str| files[path].known().unwrap().content.clone();
        assert_eq!(text("/etc/sysctl.d/k8s.conf"), FileContent::Text("net.ipv4.ip_forward=1\n".to_owned()));
        assert_eq!(text("/etc/hostname"), FileContent::Bytes(b"n\xff1".to_vec()));
        let conflist = files["/etc/cni/net.d/10-calico.conflist"].known().unwrap();
        assert_eq!(conflist.content, FileContent::Text("{\"k8s_auth_token\": \"[redacted]\"}".to_owned()));
        assert_eq!(conflist.n_redacted, 1);
        assert!(conflist.modified.is_some());
        assert!(!files.contains_key("/etc/sysctl.d/README"));
        assert!(!files.contains_key("/lib/sysctl.d/50-default.conf"), "read twice");
        assert!(files.contains_key("/usr/lib/sysctl.d/50-default.conf"));
        assert_eq!(
            directories["/etc/sysctl.d"],
            Observed::Known(vec!["README".to_owned(), "k8s.conf".to_owned()])
        );
        assert_eq!(directories["/opt/cni/bin"], Observed::Absent);
        assert_eq!(directories["/var/lib/cni/networks/cbr0"], Observed::Known(vec!["10.244.1.2".to_owned()]));
    }

    #[test]
    fn a_large_file_says_so() {
        let (directory, root) = node();
        std::fs::write(directory.path().join("etc/hosts"), vec![b'#'; 300_000]).unwrap();
        let (files, _) = of_node(&root, &Limits::default());
        assert_eq!(files["/etc/hosts"], Observed::NotCollected(Reason::TooLarge { limit: 262_144 }));
    }

    #[test]
    fn a_fifo_in_place_of_a_file_does_not_hold_the_collection_up() {
        let (directory, root) = node();
        nix::unistd::mkfifo(
            &directory.path().join("etc/resolv.conf"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        let files = of_pod(&root, &Limits::default());
        let wanted = Reason::Failed("/etc/resolv.conf is a Fifo".to_owned());
        assert_eq!(files["/etc/resolv.conf"], Observed::NotCollected(wanted));
    }

    #[test]
    fn the_lists_are_sorted_and_have_no_doubles() {
        assert!(DIRECTORIES_OF_A_NODE.is_sorted_by(|a, b| a.0 < b.0));
        assert!(OF_A_POD.is_sorted());
        let mut files = OF_A_NODE;
        files.sort_unstable();
        assert!(files.windows(2).all(|it| it[0] != it[1]));
    }
}
