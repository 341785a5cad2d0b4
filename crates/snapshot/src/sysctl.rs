//! Kernel switches below `/proc/sys/net`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Observed, Reason};

/// The name of a kernel switch.
///
/// Kept as its path below `/proc/sys` (`net/ipv4/conf/flannel.1/forwarding`): in the dotted spelling an
/// interface name with a dot in it is ambiguous.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SysctlKey(String);

impl SysctlKey {
    /// The key at `path` below `/proc/sys`.
    pub fn from_path(path: &str) -> Self {
        // Most paths have nothing to be trimmed, and the tracer makes many.
        let path = if path.starts_with('/') || path.ends_with('/') { path.trim_matches('/') } else { path };
        Self(path.to_owned())
    }

    /// The key that sysctl(8) and sysctl.d(5) call `text`.
    ///
    /// If the first separator is a dot, dots separate and a slash stands for a dot inside a part; if it is a
    /// slash, the text is a path. Source: procps-ng `sysctl.c` (`slashdot`), systemd `sysctl_normalize`.
    pub fn from_dotted(text: &str) -> Self {
        let first = text.find(['.', '/']).map(|at| text.as_bytes()[at]);
        if first == Some(b'.') {
            let swapped: String = text
                .chars()
                .map(|it| match it {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect();
            return Self::from_path(&swapped);
        }
        Self::from_path(text)
    }

    /// A switch of one interface: `net/FAMILY/conf/LINK/LEAF` with family `ipv4` or `ipv6`.
    pub fn of_link(is_ipv6: bool, link: &str, leaf: &str) -> Self {
        Self(format!("net/{}/conf/{link}/{leaf}", if is_ipv6 { "ipv6" } else { "ipv4" }))
    }

    /// The path below `/proc/sys`.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The spelling in element names: every separator a dot, the dots inside a part as they are.
    pub fn dotted(&self) -> String {
        self.0.replace('/', ".")
    }

    /// The spelling that `sysctl -w` and sysctl.d files read back as the same key.
    pub fn spelled(&self) -> String {
        self.0
            .chars()
            .map(|it| match it {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect()
    }

    /// The interface and the leaf, where this is a switch of one interface (`all` and `default` included).
    pub fn link_and_leaf(&self) -> Option<(&str, &str)> {
        let rest = self.0.strip_prefix("net/ipv4/conf/").or_else(|| self.0.strip_prefix("net/ipv6/conf/"))?;
        rest.rsplit_once('/')
    }

    /// Is this a switch of IPv6?
    pub fn is_ipv6(&self) -> bool {
        self.0.starts_with("net/ipv6/")
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled())
    }
}

/// The switches of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sysctls {
    /// The values as the kernel prints them, without the final newline.
    pub values: BTreeMap<SysctlKey, String>,
    /// The switches that are there and could not be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<SysctlKey, Reason>,
}

impl Sysctls {
    /// What is known of one switch.
    pub fn get(&self, key: &SysctlKey) -> Observed<&str> {
        match (self.values.get(key), self.unreadable.get(key)) {
            (Some(value), _) => Observed::Known(value),
            (None, Some(reason)) => Observed::NotCollected(reason.clone()),
            (None, None) => Observed::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_with_a_dot_is_spelled_as_procps_does() {
        let key = SysctlKey::of_link(false, "flannel.1", "forwarding");
        assert_eq!(key.spelled(), "net.ipv4.conf.flannel/1.forwarding");
        assert_eq!(SysctlKey::from_dotted(&key.spelled()), key);
        assert_eq!(SysctlKey::from_dotted("net/ipv4/conf/flannel.1/forwarding"), key);
        assert_eq!(key.dotted(), "net.ipv4.conf.flannel.1.forwarding");
        assert_eq!(key.link_and_leaf(), Some(("flannel.1", "forwarding")));
    }

    #[test]
    fn a_plain_key_is_spelled_alike_everywhere() {
        let key = SysctlKey::from_dotted("net.ipv4.ip_forward");
        assert_eq!(key.path(), "net/ipv4/ip_forward");
        assert_eq!(key.spelled(), "net.ipv4.ip_forward");
        assert_eq!(key.link_and_leaf(), None);
    }

    #[test]
    fn a_switch_that_refused_to_be_read_is_not_absent() {
        let key = SysctlKey::from_dotted("net.ipv4.x");
        let mut sysctls = Sysctls::default();
        assert_eq!(sysctls.get(&key), Observed::Absent);
        sysctls.unreadable.insert(key.clone(), Reason::TimedOut);
        assert!(sysctls.get(&key).is_not_collected());
    }
}
