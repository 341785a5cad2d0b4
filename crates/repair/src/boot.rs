//! Which kernel switches a node will have after its next boot, by its files.
//!
//! systemd-sysctl(8), sysctl.d(5): files are taken by name from the first directory that has one of that name,
//! applied in the order of their names, and the last value of a key wins. `/etc/sysctl.conf` is read only where
//! a file of a sysctl.d directory is a link to it, as Debian ships `99-sysctl.conf`; procps' `sysctl --system`
//! reads it last in any case.

use std::collections::BTreeMap;

use hopwise_snapshot::{File, Node, Observed, SysctlKey};

/// The directories, the first of which wins for files of one name.
pub const DIRECTORIES: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// A line of a file that sets a kernel switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: String,
    /// The file.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// What a node's files say of kernel switches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// For each key that some file sets, the line that wins.
    pub settings: BTreeMap<SysctlKey, Setting>,
    /// Lines that are neither settings nor comments, as path, line and text.
    pub not_understood: Vec<(String, usize, String)>,
}

/// Reads a node's files. Not collected where any of them was not read: a later file could say otherwise.
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the readers of these files tell cases apart"
)]
pub fn boot(node: &Node) -> Observed<Boot> {
    let mut files: BTreeMap<&str, (&str, &File)> = BTreeMap::new();
    for directory in DIRECTORIES {
        for (path, file) in &node.files {
            let Some(name) = path.strip_prefix(directory).and_then(|it| it.strip_prefix('/')) else {
                continue;
            };
            if name.contains('/') || !name.ends_with(".conf") {
                continue;
            }
            match file {
                Observed::Known(file) => {
                    files.entry(name).or_insert((path, file));
                }
                Observed::Absent => {}
                Observed::NotCollected(reason) => return Observed::NotCollected(reason.clone()),
            }
        }
    }
    let mut boot = Boot::default();
    for (path, file) in files.into_values() {
        boot.read(path, &String::from_utf8_lossy(file.content.bytes()));
    }
    Observed::Known(boot)
}

impl Boot {
    fn read(&mut self, path: &str, text: &str) {
        for (at, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            // A dash before the key means that failing to set it is no error.
            let Some((key, value)) = trimmed.trim_start_matches('-').split_once('=') else {
                self.not_understood.push((path.to_owned(), at + 1, trimmed.to_owned()));
                continue;
            };
            let setting = Setting { value: value.trim().to_owned(), path: path.to_owned(), line: at + 1 };
            self.settings.insert(SysctlKey::from_dotted(key.trim()), setting);
        }
    }

    /// The line that decides a key, where one does. A pattern (`net.ipv4.conf.*.rp_filter`) counts for the
    /// keys that no line names by themselves.
    pub fn decides(&self, key: &SysctlKey) -> Option<&Setting> {
        if let Some(setting) = self.settings.get(key) {
            return Some(setting);
        }
        let mut patterns = self.settings.iter().filter(|(pattern, _)| matches(pattern.path(), key.path()));
        patterns.next_back().map(|(_, setting)| setting)
    }
}

/// Does a path match a pattern in which `*` stands for any part between two slashes?
fn matches(pattern: &str, path: &str) -> bool {
    if !pattern.contains('*') {
        return false;
    }
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(pattern), Some(part)) if pattern == part => {}
            (Some(pattern), Some(part))
                if pattern.strip_suffix('*').is_some_and(|it| part.starts_with(it)) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(files: &[(&str, &str)]) -> Node {
        let mut node = Node::default();
        for (path, text) in files {
            node.files.insert((*path).to_owned(), Observed::Known(File::text(*text)));
        }
        node
    }

    fn decided(node: &Node, key: &str) -> String {
        let Observed::Known(boot) = boot(node) else { return "not collected".to_owned() };
        match boot.decides(&SysctlKey::from_dotted(key)) {
            Some(it) => format!("{} by {}:{}", it.value, it.path, it.line),
            None => "nobody".to_owned(),
        }
    }

    #[test]
    fn the_last_file_by_name_wins_whatever_its_directory() {
        let node = node(&[
            ("/etc/sysctl.d/10-first.conf", "net.ipv4.ip_forward = 1\n"),
            ("/usr/lib/sysctl.d/50-vendor.conf", "# vendor\nnet.ipv4.ip_forward=0\n"),
        ]);
        assert_eq!(decided(&node, "net.ipv4.ip_forward"), "0 by /usr/lib/sysctl.d/50-vendor.conf:2");
    }

    #[test]
    fn a_file_in_etc_hides_one_of_the_same_name() {
        let node = node(&[
            ("/etc/sysctl.d/50-x.conf", "net.ipv4.ip_forward = 1\n"),
            ("/usr/lib/sysctl.d/50-x.conf", "net.ipv4.ip_forward = 0\n"),
        ]);
        assert_eq!(decided(&node, "net.ipv4.ip_forward"), "1 by /etc/sysctl.d/50-x.conf:1");
    }

    #[test]
    fn a_pattern_counts_where_no_line_names_the_key() {
        let node = node(&[(
            "/etc/sysctl.d/x.conf",
            "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.eth0.rp_filter = 1\nnonsense\n",
        )]);
        assert_eq!(decided(&node, "net.ipv4.conf.cni0.rp_filter"), "2 by /etc/sysctl.d/x.conf:1");
        assert_eq!(decided(&node, "net.ipv4.conf.eth0.rp_filter"), "1 by /etc/sysctl.d/x.conf:2");
        assert_eq!(decided(&node, "net.ipv4.ip_forward"), "nobody");
        let Observed::Known(boot) = boot(&node) else { panic!() };
        assert_eq!(boot.not_understood, [("/etc/sysctl.d/x.conf".to_owned(), 3, "nonsense".to_owned())]);
    }
}
