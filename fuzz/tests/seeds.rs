//! Every target takes its seeds, whole and cut anywhere.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::path::Path;

use hopwise_fuzz::TARGETS;

#[test]
fn every_target_takes_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, target) in TARGETS {
        target(b"");
        let Ok(files) = std::fs::read_dir(seeds.join(name)) else { continue };
        for file in files {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for end in (0..bytes.len()).step_by((bytes.len() / 20).max(1)) {
                target(&bytes[..end]);
            }
            target(&bytes);
        }
    }
}

#[test]
fn every_target_is_a_binary() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
