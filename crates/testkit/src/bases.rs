//! The committed healthy clusters.

use std::{fs, io, path::PathBuf};

use hopwise_snapshot::{Snapshot, hop};

/// The names of the base clusters. A lab is made of each by `hopwise lab up NAME --base BASE`.
pub const BASES: [&str; 2] = ["vxlan", "dual-stack"];

/// The directory of the workspace.
pub fn workspace() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map_or(own.clone(), PathBuf::from)
}

/// The file of a base.
pub fn base_path(name: &str) -> PathBuf {
    workspace().join("crates/testkit/bases").join(format!("{name}.hop"))
}

/// The snapshot of a base, as it was captured; the error names the file.
pub fn base(name: &str) -> io::Result<Snapshot> {
    let path = base_path(name);
    let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let bytes = fs::read(&path).map_err(|error| named(&error))?;
    hop::read(&bytes).map_err(|error| named(&error))
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::Observed;

    use super::*;

    #[test]
    fn every_base_has_three_nodes_that_were_read() {
        for name in BASES {
            let base = base(name).unwrap();
            let read = base.nodes.iter().filter(|(_, it)| matches!(it, Observed::Known(_)));
            let names: Vec<&str> = read.map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["cp", "w1", "w2"], "{name}");
            assert_eq!(base.pods.len(), 17, "{name}");
        }
    }

    #[test]
    fn a_base_that_is_not_there_is_named() {
        let error = base("nowhere").unwrap_err().to_string();
        assert!(error.contains("bases/nowhere.hop"), "{error}");
    }
}
