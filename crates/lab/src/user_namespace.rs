//! Why a user cannot have a user namespace, and which switch forbids it.

use std::{fs, io};

use hopwise_sys::namespace::UserNamespaceError;

use crate::LabError;

/// The switches that forbid user namespaces: name, file, and the value that forbids.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces", "0"),
    ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", "0"),
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ),
];

/// Is this process in a user namespace that is not the machine's first?
pub(crate) fn is_own() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers: Vec<&str> = map.split_ascii_whitespace().collect();
    numbers != ["0", "0", "4294967295"]
}

/// A user namespace could not be made.
pub(crate) fn refused(source: UserNamespaceError) -> LabError {
    LabError::NoUserNamespace { hint: hint(), source }
}

/// Other namespaces could not be made, in a user namespace of one's own or as root.
pub(crate) fn refused_namespaces(in_own: bool, source: io::Error) -> LabError {
    if in_own {
        // AppArmor lets the user namespace be made, and then denies its capabilities.
        return refused(UserNamespaceError { step: "make namespaces in a user namespace", source });
    }
    LabError::Kernel { step: "make the namespaces", member: "the keeper".to_owned(), source }
}

fn hint() -> String {
    let forbids =
        |(_, file, value): &&(&str, &str, &str)| fs::read_to_string(file).is_ok_and(|it| it.trim() == *value);
    let found: Vec<String> =
        SWITCHES.iter().filter(forbids).map(|(name, _, value)| format!("{name} = {value}")).collect();
    let switches = if found.is_empty() {
        let names: Vec<&str> = SWITCHES.iter().map(|(name, ..)| *name).collect();
        format!("user namespaces are forbidden here; switches that do so are {}", names.join(", "))
    } else {
        format!("user namespaces are forbidden by {}", found.join(" and "))
    };
    format!("{switches}; containers forbid them too. Run as root, or have it allowed")
}
