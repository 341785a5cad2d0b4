//! Running the tests that need namespaces.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

/// Puts a test program into a user namespace where it is root, with a network and mounts of its own.
const UNSHARE: &str = "unshare -Urnm";

/// Runs the test programs of a tier, all of them, and says which failed.
///
/// The programs called `kernel` get namespaces of their own whoever runs them, so that they cannot touch the machine's
/// network. Those called `lab` make their own, as whoever runs them.
pub fn run(root: &Path, tier: &str, words: &[&str]) -> Result<()> {
    let packages = packages(root, tier)?;
    ensure!(!packages.is_empty(), "no crate has tests called {tier}");
    let mut failed = Vec::new();
    for package in packages {
        let mut command = Command::new("cargo");
        command.args(["test", "--package", &package, "--test", tier, "--"]).args(words).current_dir(root);
        if tier == "kernel" {
            command.env(runner()?, UNSHARE);
        }
        if !command.status().with_context(|| format!("cannot run {command:?}"))?.success() {
            failed.push(package);
        }
    }
    if !failed.is_empty() {
        bail!("the tier {tier} fails in {}", failed.join(", "));
    }
    Ok(())
}

/// The packages that have a test program of this name.
fn packages(root: &Path, tier: &str) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let directory = entry?.path();
        let tests = directory.join("tests");
        if tests.join(tier).join("main.rs").exists() || tests.join(format!("{tier}.rs")).exists() {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            packages.push(format!("hopwise-{name}"));
        }
    }
    packages.sort();
    Ok(packages)
}

/// The variable that names the program which cargo starts test programs by.
fn runner() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|it| it.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiers_are_found_by_the_names_of_their_programs() {
        let root = hopwise_testkit::workspace();
        assert_eq!(packages(&root, "lab").unwrap(), ["hopwise-cli"]);
        let kernel = packages(&root, "kernel").unwrap();
        assert!(
            kernel.contains(&"hopwise-sys".to_owned()) && kernel.contains(&"hopwise-netfilter".to_owned())
        );
    }
}
