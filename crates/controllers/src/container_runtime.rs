//! Where containerd looks for network plugins and their configuration.

use toml::{Table, Value};

/// Where a runtime keeps its configuration.
pub const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
/// Where network configurations lie unless the runtime is told otherwise.
pub const CNI_CONFIGURATIONS: &str = "/etc/cni/net.d";
/// Where plugins lie unless the runtime is told otherwise.
pub const CNI_PLUGINS: &str = "/opt/cni/bin";

/// The directories that a runtime reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniDirectories {
    /// Of configurations.
    pub configurations: String,
    /// Of plugins, in the order in which they are looked through.
    pub plugins: Vec<String>,
}

impl Default for CniDirectories {
    fn default() -> Self {
        Self { configurations: CNI_CONFIGURATIONS.to_owned(), plugins: vec![CNI_PLUGINS.to_owned()] }
    }
}

/// Why a configuration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TomlError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, as a fragment.
    pub reason: String,
}

/// The directories that containerd's configuration names: `conf_dir`, `bin_dir` and `bin_dirs` of a table `cni` of the
/// plugin `io.containerd.grpc.v1.cri` or, since containerd 2.0, `io.containerd.cri.v1.runtime` (containerd 2.1
/// `docs/cri/config.md`). What it leaves out is as usual.
///
/// # Errors
/// The text is not TOML.
pub fn cni_directories(text: &str) -> Result<CniDirectories, TomlError> {
    let document: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |it| it.start);
        TomlError {
            line: text.bytes().take(at).filter(|it| *it == b'\n').count() + 1,
            reason: error.message().lines().next().unwrap_or_default().to_owned(),
        }
    })?;
    let mut found = CniDirectories::default();
    let plugins = document.get("plugins").and_then(Value::as_table);
    let tables = plugins.into_iter().flat_map(Table::iter).filter(|(name, _)| name.contains("cri"));
    for cni in tables.filter_map(|(_, it)| it.get("cni")?.as_table()) {
        let word = |key: &str| cni.get(key).and_then(Value::as_str).filter(|it| !it.is_empty());
        if let Some(directory) = word("conf_dir") {
            directory.trim_end_matches('/').clone_into(&mut found.configurations);
        }
        let several = cni.get("bin_dirs").and_then(Value::as_array);
        let several = several.into_iter().flatten().filter_map(Value::as_str);
        let plugins: Vec<String> =
            several.chain(word("bin_dir")).map(|it| it.trim_end_matches('/').to_owned()).collect();
        if !plugins.is_empty() {
            found.plugins = plugins;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_generations_of_containerd_are_read() {
        let old = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni/\"\n";
        let found = cni_directories(old).unwrap();
        assert_eq!(found.plugins, ["/usr/lib/cni"]);
        assert_eq!(found.configurations, CNI_CONFIGURATIONS);
        let new = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [\"/a\", \
                   \"/b\"]\nconf_dir = \"/etc/other\"\n";
        let found = cni_directories(new).unwrap();
        assert_eq!(
            (found.plugins.as_slice(), found.configurations.as_str()),
            (&["/a".to_owned(), "/b".to_owned()][..], "/etc/other")
        );
        assert_eq!(cni_directories("").unwrap(), CniDirectories::default());
    }

    #[test]
    fn an_error_names_its_line() {
        assert_eq!(cni_directories("version = 2\n[plugins\n").unwrap_err().line, 2);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,100}") {
            let _ = cni_directories(&text);
        }
    }
}
