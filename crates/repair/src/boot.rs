//! Which kernel switches a node will have after its next boot, by its files, and which modules are loaded then.
//!
//! systemd-sysctl(8), sysctl.d(5): files are taken by name from the first directory that has one of that name,
//! applied in the order of their names, and the last value of a key wins. `/etc/sysctl.conf` is read only where
//! a file of a sysctl.d directory is a link to it, as Debian ships `99-sysctl.conf`; procps' `sysctl --system`
//! reads it last in any case.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{File, Node, Observed, Reason, SysctlKey};

/// The directories, the first of which wins for files of one name.
pub const DIRECTORIES: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];
/// The same for modules (modules-load.d(5)).
const MODULE_DIRECTORIES: [&str; 5] = [
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];
/// What procps reads besides, and last.
const SYSCTL_CONF: &str = "/etc/sysctl.conf";
/// Two names of one switch: writing either sets the other (`net/ipv4/devinet.c`, `devinet_sysctl_forward`).
const SAME: [(&str, &str); 1] = [("net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding")];

/// A line of a file that sets a kernel switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: String,
    /// The file.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// Its place among all settings: a later one is applied later.
    order: usize,
}

/// What a node's files say of kernel switches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// For each key that some file sets, the line that wins.
    pub settings: BTreeMap<SysctlKey, Setting>,
    /// Keys that patterns leave out (`-net.ipv4.conf.eth0.rp_filter` without a value).
    left_out: BTreeSet<SysctlKey>,
    /// Lines that are neither settings nor comments, as path, line and text.
    pub not_understood: Vec<(String, usize, String)>,
    n_read: usize,
}

/// What systemd-sysctl makes of a node's files when the node boots. Not collected where any of them was not read: a later
/// file could say otherwise.
pub fn boot(node: &Node) -> Observed<Boot> {
    let mut boot = Boot::default();
    match drop_ins(node, &DIRECTORIES) {
        Ok(files) => files.into_iter().for_each(|(path, file)| boot.read(path, &text(file))),
        Err(reason) => return Observed::NotCollected(reason),
    }
    Observed::Known(boot)
}

/// What `sysctl --system` of procps makes of them: `/etc/sysctl.conf` comes last.
pub fn reload(node: &Node) -> Observed<Boot> {
    let Observed::Known(mut boot) = boot(node) else { return boot(node) };
    match node.files.get(SYSCTL_CONF) {
        Some(Observed::Known(file)) => boot.read(SYSCTL_CONF, &text(file)),
        Some(Observed::NotCollected(reason)) => return Observed::NotCollected(reason.clone()),
        Some(Observed::Absent) | None => {}
    }
    Observed::Known(boot)
}

/// The modules that a node loads when it boots, with the line that says so, as `PATH:LINE`.
pub fn modules(node: &Node) -> Observed<BTreeMap<String, String>> {
    let files = match drop_ins(node, &MODULE_DIRECTORIES) {
        Ok(files) => files,
        Err(reason) => return Observed::NotCollected(reason),
    };
    let mut modules = BTreeMap::new();
    for (path, file) in files {
        for (at, line) in text(file).lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with(['#', ';']) {
                modules.entry(line.replace('-', "_")).or_insert_with(|| format!("{path}:{}", at + 1));
            }
        }
    }
    Observed::Known(modules)
}

fn text(file: &File) -> String {
    String::from_utf8_lossy(file.content.bytes()).into_owned()
}

/// The files `NAME.conf` of directories the first of which wins for one name, sorted by name.
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the readers of these files tell cases apart"
)]
fn drop_ins<'a>(node: &'a Node, directories: &[&str]) -> Result<Vec<(&'a str, &'a File)>, Reason> {
    let mut files: BTreeMap<&str, (&str, &File)> = BTreeMap::new();
    for directory in directories {
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
                Observed::NotCollected(reason) => return Err(reason.clone()),
            }
        }
    }
    Ok(files.into_values().collect())
}

impl Boot {
    fn read(&mut self, path: &str, text: &str) {
        for (at, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            // A dash before the key means that failing to set it is no error; without a value, that no pattern sets it.
            let (own, is_lenient) = match trimmed.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (trimmed, false),
            };
            match own.split_once('=') {
                Some((key, value)) => {
                    let order = self.n_read;
                    self.n_read += 1;
                    let value = value.trim().to_owned();
                    let setting = Setting { value, path: path.to_owned(), line: at + 1, order };
                    self.set(SysctlKey::from_dotted(key.trim()), setting);
                }
                None if is_lenient => {
                    self.left_out.insert(SysctlKey::from_dotted(own.trim()));
                }
                None => self.not_understood.push((path.to_owned(), at + 1, trimmed.to_owned())),
            }
        }
    }

    /// systemd keeps the place of a line that a later one repeats, and moves one that says otherwise to the end
    /// (systemd 252, `sysctl.c`, `parse_file`).
    fn set(&mut self, key: SysctlKey, mut setting: Setting) {
        if let Some(earlier) = self.settings.get(&key)
            && earlier.value == setting.value
        {
            setting.order = earlier.order;
        }
        self.settings.insert(key, setting);
    }

    /// The line that decides a key, where one does. A pattern (`net.ipv4.conf.*.rp_filter`) counts for the
    /// keys that no line names by themselves. A switch of two names is decided by the line that is applied later.
    pub fn decides(&self, key: &SysctlKey) -> Option<&Setting> {
        let other = SAME.iter().find_map(|(a, b)| match key.path() {
            path if path == *a => Some(*b),
            path if path == *b => Some(*a),
            _ => None,
        });
        let other = other.and_then(|it| self.named(&SysctlKey::from_path(it)));
        [self.named(key), other].into_iter().flatten().max_by_key(|it| it.order)
    }

    /// The line that decides a key under this very name.
    fn named(&self, key: &SysctlKey) -> Option<&Setting> {
        if let Some(setting) = self.settings.get(key) {
            return Some(setting);
        }
        if self.left_out.contains(key) {
            return None;
        }
        let patterns = self.settings.iter().filter(|(pattern, _)| matches(pattern.path(), key.path()));
        patterns.map(|(_, setting)| setting).max_by_key(|it| it.order)
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

    #[test]
    fn a_switch_of_two_names_is_decided_by_the_later_line() {
        let node = node(&[
            ("/etc/sysctl.d/50-kubernetes.conf", "net.ipv4.ip_forward = 1\n"),
            ("/etc/sysctl.d/99-stig.conf", "net.ipv4.conf.all.forwarding = 0\n"),
        ]);
        assert_eq!(decided(&node, "net.ipv4.ip_forward"), "0 by /etc/sysctl.d/99-stig.conf:1");
        assert_eq!(decided(&node, "net.ipv4.conf.all.forwarding"), "0 by /etc/sysctl.d/99-stig.conf:1");
    }

    #[test]
    fn a_key_that_patterns_leave_out_is_decided_by_nobody() {
        let text = "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n";
        let node = node(&[("/usr/lib/sysctl.d/50-default.conf", text)]);
        assert_eq!(decided(&node, "net.ipv4.conf.all.rp_filter"), "nobody");
        assert_eq!(
            decided(&node, "net.ipv4.conf.eth0.rp_filter"),
            "2 by /usr/lib/sysctl.d/50-default.conf:1"
        );
    }

    #[test]
    fn procps_reads_sysctl_conf_last_and_systemd_only_by_a_link() {
        let key = SysctlKey::from_dotted("net.ipv4.ip_forward");
        let node = node(&[
            ("/etc/sysctl.d/k8s.conf", "net.ipv4.ip_forward = 1\n"),
            ("/etc/sysctl.conf", "net.ipv4.ip_forward = 0\n"),
        ]);
        let value = |it: Observed<Boot>| it.known().unwrap().decides(&key).unwrap().value.clone();
        assert_eq!((value(boot(&node)), value(reload(&node))), ("1".to_owned(), "0".to_owned()));
    }

    #[test]
    fn modules_are_named_with_their_line() {
        let node = node(&[("/etc/modules-load.d/k8s.conf", "# for pods\noverlay\nbr-netfilter\n")]);
        let modules = modules(&node).known().unwrap().clone();
        let lines: Vec<(&str, &str)> = modules.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let file = "/etc/modules-load.d/k8s.conf";
        assert_eq!(lines, [("br_netfilter", &*format!("{file}:3")), ("overlay", &*format!("{file}:2"))]);
    }
}
