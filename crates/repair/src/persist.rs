//! What makes a change last over a reboot.

use hopwise_snapshot::{Node, Observed, Place, SysctlKey};
use similar::TextDiff;

use crate::boot;

/// The file in which Hopwise keeps kernel switches. It is Hopwise's own; files of others are only named.
pub const OWNED_SYSCTL_FILE: &str = "/etc/sysctl.d/99-hopwise.conf";

/// A file that makes a change last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Whose file.
    pub place: Place,
    /// Its absolute path.
    pub path: String,
    /// Its content before; none if there is no such file.
    pub before: Option<String>,
    /// Its content after.
    pub after: String,
    /// The line of somebody else's file, as `PATH:LINE`, that the boot reads later and that says otherwise.
    pub overruled_by: Option<String>,
}

impl Persist {
    /// Keeps a kernel switch in Hopwise's own drop-in.
    pub fn sysctl(place: &Place, node: &Node, key: &SysctlKey, value: &str) -> Self {
        let before = match node.files.get(OWNED_SYSCTL_FILE) {
            Some(Observed::Known(file)) => Some(String::from_utf8_lossy(file.content.bytes()).into_owned()),
            _ => None,
        };
        let after = with_setting(before.as_deref().unwrap_or(""), key, value);
        let overruled_by = overruling(node, key, value);
        Self { place: place.clone(), path: OWNED_SYSCTL_FILE.to_owned(), before, after, overruled_by }
    }

    /// Replaces the whole of a file.
    pub fn file(place: &Place, node: &Node, path: &str, after: String) -> Self {
        let before = match node.files.get(path) {
            Some(Observed::Known(file)) => Some(String::from_utf8_lossy(file.content.bytes()).into_owned()),
            _ => None,
        };
        Self { place: place.clone(), path: path.to_owned(), before, after, overruled_by: None }
    }

    /// What changes, as a unified diff.
    pub fn diff(&self) -> String {
        let before = self.before.as_deref().unwrap_or("");
        let old = if self.before.is_some() { self.path.as_str() } else { "/dev/null" };
        TextDiff::from_lines(before, &self.after).unified_diff().header(old, &self.path).to_string()
    }
}

/// The line of somebody else's file that the boot reads behind Hopwise's own and that says otherwise.
fn overruling(node: &Node, key: &SysctlKey, value: &str) -> Option<String> {
    let boot = boot::boot(node);
    let line = boot.known()?.decides(key).filter(|it| it.value != value)?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let is_later = line.path == "/etc/sysctl.conf" || name(&line.path) > name(OWNED_SYSCTL_FILE);
    is_later.then(|| format!("{}:{}", line.path, line.line))
}

/// A sysctl.d text with one setting more: in place of the same key's line, else at the end.
fn with_setting(text: &str, key: &SysctlKey, value: &str) -> String {
    let line = format!("{key} = {value}");
    let mut is_set = false;
    let mut lines: Vec<String> = Vec::new();
    for old in text.lines() {
        let is_same =
            old.split_once('=').is_some_and(|(name, _)| SysctlKey::from_dotted(name.trim()) == *key);
        if is_same {
            if !is_set {
                lines.push(line.clone());
            }
            is_set = true;
        } else {
            lines.push(old.to_owned());
        }
    }
    if !is_set {
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_takes_the_place_of_its_own_line() {
        let forward = SysctlKey::from_dotted("net.ipv4.ip_forward");
        let text = with_setting("# kept\nnet.ipv4.ip_forward=0\nnet/ipv4/ip_forward = 2\n", &forward, "1");
        assert_eq!(text, "# kept\nnet.ipv4.ip_forward = 1\n");
        assert_eq!(with_setting("", &forward, "1"), "net.ipv4.ip_forward = 1\n");
    }

    #[test]
    fn the_diff_of_a_new_file_is_its_lines() {
        let key = SysctlKey::from_dotted("net.ipv4.ip_forward");
        let persist = Persist::sysctl(&Place::node("w2"), &Node::default(), &key, "1");
        assert_eq!(
            persist.diff(),
            "--- /dev/null\n+++ /etc/sysctl.d/99-hopwise.conf\n@@ -0,0 +1 @@\n+net.ipv4.ip_forward = 1\n"
        );
    }
}
