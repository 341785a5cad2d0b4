//! What makes a change last over a reboot.

use hopwise_change::Change;
use hopwise_snapshot::{Node, Observed, Place, SysctlKey};
use similar::TextDiff;

use crate::boot::{self, Setting};

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
    /// What is done to the content.
    edit: Edit,
}

/// What is done to the content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    /// A kernel switch gets a line.
    Set(SysctlKey, String),
    /// A line, counted from 1, becomes a comment.
    Comment(usize),
    /// Everything is replaced.
    Whole,
}

impl Persist {
    /// Keeps a kernel switch in Hopwise's own drop-in.
    pub fn sysctl(place: &Place, node: &Node, key: &SysctlKey, value: &str) -> Self {
        let edit = Edit::Set(key.clone(), value.to_owned());
        let persist = Self::new(place, node, OWNED_SYSCTL_FILE, edit);
        let overruled_by = overruling(node, key, value).map(|it| format!("{}:{}", it.path, it.line));
        Self { overruled_by, ..persist }
    }

    /// Makes comments of all lines of somebody else's files that the boot reads behind Hopwise's own and that give a
    /// kernel switch another value.
    pub fn disarmed(place: &Place, node: &Node, key: &SysctlKey, value: &str) -> Vec<Self> {
        let mut node = node.clone();
        let mut all: Vec<Self> = Vec::new();
        while let Some(line) = overruling(&node, key, value) {
            let persist = Self::new(place, &node, &line.path, Edit::Comment(line.line));
            if Some(&persist.after) == persist.before.as_ref() {
                break;
            }
            let path = persist.path.clone();
            node.files.insert(path, Observed::Known(hopwise_snapshot::File::text(&*persist.after)));
            all.push(persist);
        }
        all
    }

    /// Replaces the whole of a file.
    pub fn file(place: &Place, node: &Node, path: &str, after: String) -> Self {
        Self { after, ..Self::new(place, node, path, Edit::Whole) }
    }

    fn new(place: &Place, node: &Node, path: &str, edit: Edit) -> Self {
        let before = match node.files.get(path) {
            Some(Observed::Known(file)) => Some(String::from_utf8_lossy(file.content.bytes()).into_owned()),
            _ => None,
        };
        let unedited = Self {
            place: place.clone(),
            path: path.to_owned(),
            before: None,
            after: String::new(),
            overruled_by: None,
            edit,
        };
        unedited.on(before)
    }

    /// The same where the file has another content before.
    pub(crate) fn on(self, before: Option<String>) -> Self {
        let text = before.as_deref().unwrap_or("");
        let after = match &self.edit {
            Edit::Set(key, value) => with_setting(text, key, value),
            Edit::Comment(line) => with_comment(text, *line),
            Edit::Whole => self.after,
        };
        Self { before, after, ..self }
    }

    /// Its writing, as a change.
    pub fn change(&self) -> Change {
        let (place, path, content) = (self.place.clone(), self.path.clone(), self.after.clone());
        Change::FileWritten { place, path, content }
    }

    /// What changes, as a unified diff.
    pub fn diff(&self) -> String {
        let before = self.before.as_deref().unwrap_or("");
        let old = if self.before.is_some() { self.path.as_str() } else { "/dev/null" };
        TextDiff::from_lines(before, &self.after).unified_diff().header(old, &self.path).to_string()
    }
}

/// The line of somebody else's file that the boot reads behind Hopwise's own and that says otherwise.
fn overruling(node: &Node, key: &SysctlKey, value: &str) -> Option<Setting> {
    let boot = boot::boot(node);
    let line = boot.known()?.decides(key).filter(|it| it.value != value)?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let is_later = line.path == "/etc/sysctl.conf" || name(&line.path) > name(OWNED_SYSCTL_FILE);
    is_later.then(|| line.clone())
}

/// A text of which one line, counted from 1, is a comment.
fn with_comment(text: &str, line: usize) -> String {
    let lines = text.split_inclusive('\n').enumerate();
    lines.map(|(at, it)| if at + 1 == line { format!("# {it}") } else { it.to_owned() }).collect()
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
    fn a_later_line_of_somebody_else_becomes_a_comment() {
        let key = SysctlKey::from_dotted("net.ipv4.ip_forward");
        let mut node = Node::default();
        for (path, text) in [
            ("/etc/sysctl.d/zz-a.conf", "# hardening\nnet.ipv4.ip_forward = 0\nvm.swappiness = 1\n"),
            ("/etc/sysctl.d/zz-b.conf", "net/ipv4/ip_forward=0"),
            ("/etc/sysctl.d/10-early.conf", "net.ipv4.ip_forward=0\n"),
        ] {
            node.files.insert(path.to_owned(), Observed::Known(hopwise_snapshot::File::text(text)));
        }
        let all = Persist::disarmed(&Place::node("w2"), &node, &key, "1");
        let all: Vec<(&str, &str)> = all.iter().map(|it| (it.path.as_str(), it.after.as_str())).collect();
        assert_eq!(
            all,
            [
                ("/etc/sysctl.d/zz-b.conf", "# net/ipv4/ip_forward=0"),
                ("/etc/sysctl.d/zz-a.conf", "# hardening\n# net.ipv4.ip_forward = 0\nvm.swappiness = 1\n"),
            ]
        );
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
