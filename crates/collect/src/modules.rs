//! Kernel modules.

use std::{collections::BTreeSet, path::Path};

use hopwise_snapshot::{Observed, Reason};
use hopwise_sys::{ReadError, Root};

use crate::reason;

/// The largest list of modules, in bytes. Distributions' lists of what is built in have some 10 KiB.
const LARGEST: u64 = 4 << 20;

/// What is known of a running kernel's modules; nothing by default.
#[derive(Debug, Default)]
pub(crate) struct KernelModules {
    /// `/proc/modules`; absent where the kernel was built without loadable modules.
    loaded: Observed<BTreeSet<String>>,
    /// `/lib/modules/RELEASE/modules.builtin`.
    built_in: Observed<BTreeSet<String>>,
}

impl KernelModules {
    /// The modules of the kernel that `proc` shows and whose files lie in `root`.
    pub(crate) fn read(root: &Root, proc: &Root) -> Self {
        let loaded = match proc.read(Path::new("modules"), LARGEST) {
            Ok(file) => Observed::Known(loaded(&String::from_utf8_lossy(&file.bytes))),
            Err(error) => reason::of_read(&error, "/proc/modules"),
        };
        let built_in = match release(proc) {
            Ok(release) => {
                let path = format!("/lib/modules/{release}/modules.builtin");
                match root.read(Path::new(&path), LARGEST) {
                    Ok(file) => Observed::Known(built_in(&String::from_utf8_lossy(&file.bytes))),
                    Err(error) => reason::of_read(&error, &path),
                }
            }
            Err(error) => reason::of_read(&error, "/proc/sys/kernel/osrelease"),
        };
        Self { loaded, built_in }
    }

    /// Nothing is known, for one reason.
    pub(crate) fn unreadable(reason: &Reason) -> Self {
        let missing = || Observed::NotCollected(reason.clone());
        Self { loaded: missing(), built_in: missing() }
    }

    /// Is it certain that the module is neither loaded nor built in? Asking the kernel for what such a
    /// module does would make it load the module, which is not reading.
    pub(crate) fn surely_lacks(&self, module: &str) -> bool {
        let lacks = |list: &Observed<BTreeSet<String>>| list.known().is_some_and(|it| !it.contains(module));
        lacks(&self.loaded) && lacks(&self.built_in)
    }

    /// Modules that are loaded or built in, sorted.
    ///
    /// Both lists must be known: a module that is in the one is not missing for not being in the other. A
    /// kernel without loadable modules has none but those built in.
    pub(crate) fn all(&self) -> Observed<Vec<String>> {
        match (&self.loaded, &self.built_in) {
            (Observed::Known(loaded), Observed::Known(built_in)) => {
                Observed::Known(loaded.union(built_in).cloned().collect())
            }
            (Observed::Absent, Observed::Known(built_in)) => {
                Observed::Known(built_in.iter().cloned().collect())
            }
            (Observed::NotCollected(reason), _) | (_, Observed::NotCollected(reason)) => {
                Observed::NotCollected(reason.clone())
            }
            (_, Observed::Absent) => Observed::NotCollected(Reason::Failed(
                "no modules.builtin for the running kernel, so what is built in is not known".to_owned(),
            )),
        }
    }
}

/// The kernel's release, as `uname -r` prints it.
pub(crate) fn release(proc: &Root) -> Result<String, ReadError> {
    let file = proc.read(Path::new("sys/kernel/osrelease"), 4096)?;
    Ok(String::from_utf8_lossy(&file.bytes).trim_end().to_owned())
}

/// `NAME SIZE USERS DEPENDENTS STATE ADDRESS` a line.
fn loaded(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|it| it.split_ascii_whitespace().next()).map(name).collect()
}

/// `kernel/net/bridge/br_netfilter.ko` a line.
fn built_in(text: &str) -> BTreeSet<String> {
    let stems = text.lines().filter_map(|it| it.rsplit('/').next()?.split('.').next());
    stems.filter(|it| !it.is_empty()).map(name).collect()
}

/// Files spell a name with `-` or `_`, the kernel with `_`.
fn name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(modules: Option<&str>, builtin: Option<&str>) -> KernelModules {
        let directory = tempfile::tempdir().unwrap();
        let proc = directory.path().join("proc");
        std::fs::create_dir_all(proc.join("sys/kernel")).unwrap();
        std::fs::write(proc.join("sys/kernel/osrelease"), "6.1.0-13-amd64\n").unwrap();
        if let Some(text) = modules {
            std::fs::write(proc.join("modules"), text).unwrap();
        }
        if let Some(text) = builtin {
            let lib = directory.path().join("lib/modules/6.1.0-13-amd64");
            std::fs::create_dir_all(&lib).unwrap();
            std::fs::write(lib.join("modules.builtin"), text).unwrap();
        }
        KernelModules::read(&Root::open(directory.path()).unwrap(), &Root::open(&proc).unwrap())
    }

    const LOADED: &str =
        "br_netfilter 32768 0 - Live 0x0000000000000000\nbridge 311296 1 br_netfilter, Live 0x0\n";
    const BUILT_IN: &str = "kernel/net/ipv6/ipv6.ko\nkernel/net/netfilter/nf-tables.ko\n";

    #[test]
    fn loaded_and_built_in_modules_are_one_list() {
        let modules = machine(Some(LOADED), Some(BUILT_IN));
        let wanted = ["br_netfilter", "bridge", "ipv6", "nf_tables"].map(str::to_owned);
        assert_eq!(modules.all(), Observed::Known(wanted.to_vec()));
        assert!(!modules.surely_lacks("nf_tables"));
        assert!(modules.surely_lacks("ip_set"));
    }

    #[test]
    fn a_kernel_without_loadable_modules_has_what_is_built_in() {
        let modules = machine(None, Some(BUILT_IN));
        assert_eq!(modules.all(), Observed::Known(vec!["ipv6".to_owned(), "nf_tables".to_owned()]));
        assert!(!modules.surely_lacks("ip_set"));
    }

    #[test]
    fn a_module_is_not_missing_where_the_built_in_ones_are_unknown() {
        for modules in [machine(Some(LOADED), None), machine(None, None)] {
            assert!(modules.all().is_not_collected());
            assert!(!modules.surely_lacks("ip_set"));
        }
    }
}
