//! Capturing the healthy base clusters of the cases.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hopwise_snapshot::{Snapshot, hop};
use hopwise_testkit::{BASES, base_path, tentative};

/// Captures every base from a fresh lab; what was written, one line each.
pub fn capture(root: &Path) -> Result<Vec<String>> {
    done(Command::new("cargo").args(["build", "--package", "hopwise-cli"]).current_dir(root))?;
    let labs = std::env::temp_dir().join(format!("hopwise-bases-{}", std::process::id()));
    fs::create_dir(&labs).with_context(|| format!("cannot make {}", labs.display()))?;
    let written = BASES.iter().map(|base| capture_one(root, &labs, base)).collect();
    fs::remove_dir_all(&labs).with_context(|| format!("cannot remove {}", labs.display()))?;
    written
}

fn capture_one(root: &Path, labs: &Path, base: &str) -> Result<String> {
    let hopwise = || {
        let mut command = Command::new(root.join("target/debug/hopwise"));
        command.env("HOPWISE_LAB_DIR", labs);
        command
    };
    let file = labs.join(format!("{base}.hop"));
    let collect = || -> Result<Snapshot> {
        done(hopwise().args(["collect", "--lab", "tk", "--probe", "none", "-o"]).arg(&file))?;
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hop::read(&bytes).with_context(|| format!("{base} is no snapshot"))
    };
    done(hopwise().args(["lab", "up", "tk", "--base", base]))?;
    let collected = settled(collect);
    done(hopwise().args(["lab", "down", "tk"]))?;
    let mut snapshot = collected?;
    snapshot.source = format!("lab/{base}");
    let found = hopwise_diagnose::diagnose(&snapshot);
    ensure!(found.findings.is_empty(), "{base} is not healthy: {:?}", found.findings[0].summary);
    let path = base_path(base);
    fs::write(&path, hop::write(&snapshot)).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{} ({} promised flows)", path.display(), found.n_promised))
}

/// Collects until no address is still being probed for duplicates (RFC 4862 §5.4), which takes about a second.
fn settled(collect: impl Fn() -> Result<Snapshot>) -> Result<Snapshot> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshot = collect()?;
        if tentative(&snapshot).is_none() {
            return Ok(snapshot);
        }
        ensure!(Instant::now() < deadline, "addresses are still probed after ten seconds");
    }
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
