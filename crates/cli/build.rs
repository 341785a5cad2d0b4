//! Tells the program which commit and which compiler made it.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HOPWISE_COMMIT");
    // Each commit adds a line here; a source archive has no such file, and the commit is then not known.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let given = env::var("HOPWISE_COMMIT").ok();
    if let Some(commit) = given.or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"])) {
        println!("cargo::rustc-env=HOPWISE_COMMIT={commit}");
    }
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = output(&compiler, &["--version"]) {
        let version = version.strip_prefix("rustc ").unwrap_or(&version);
        println!("cargo::rustc-env=HOPWISE_RUSTC={version}");
    }
}

/// What a command prints, where it succeeds and prints something.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|it| it.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
