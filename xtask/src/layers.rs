//! Which crate may use which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

/// The crates by layer: a crate uses only crates of lower layers. Packages are called `hopwise-` and this.
const LAYERS: &[&[&str]] = &[
    &["snapshot"],
    &["netfilter", "dns", "policy", "controllers", "sys"],
    &["change", "dataplane", "collect", "probe"],
    &["repair", "lab", "api"],
    &["diagnose"],
    &["report", "wire"],
    &["agent", "hub"],
    &["cli"],
];

/// Crates for tests alone: others name them only in `[dev-dependencies]`.
const FOR_TESTS: &[&str] = &["testkit", "trials"];

/// Crates that do no input or output, read no clock and start nothing.
const PURE: &[&str] = &[
    "snapshot",
    "netfilter",
    "dns",
    "policy",
    "controllers",
    "change",
    "dataplane",
    "repair",
    "diagnose",
    "report",
    "wire",
];

/// Packages that would bring input, output or time into a pure crate.
const IMPURE_PACKAGES: &[&str] =
    &["tokio", "nix", "libc", "socket2", "netlink-sys", "reqwest", "kube", "rand"];

/// What is wrong with the crates' manifests.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let directory = entry?.path();
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(directory.join("Cargo.toml")) else { continue };
        let manifest: toml::Table =
            text.parse().with_context(|| format!("crates/{name}/Cargo.toml is not TOML"))?;
        found.extend(of_crate(&name, &dependencies(&manifest)));
    }
    found.sort();
    Ok(found)
}

/// The packages of each section.
fn dependencies(manifest: &toml::Table) -> BTreeMap<&'static str, BTreeSet<String>> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of = |section: &str| -> BTreeSet<String> {
        manifest
            .get(section)
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|it| it.keys().cloned())
            .collect()
    };
    sections.into_iter().map(|it| (it, of(it))).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|it| it.contains(&name))
}

fn of_crate(name: &str, sections: &BTreeMap<&'static str, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    let is_for_tests = FOR_TESTS.contains(&name);
    let own = layer(name);
    if own.is_none() && !is_for_tests {
        found.push(format!("crates/{name}: it is in no layer; see xtask/src/layers.rs"));
    }
    for (section, packages) in sections {
        for package in packages {
            if PURE.contains(&name)
                && *section == "dependencies"
                && IMPURE_PACKAGES.contains(&package.as_str())
            {
                found.push(format!("crates/{name}: it is pure, and {package} is not"));
            }
            let Some(other) = package.strip_prefix("hopwise-") else { continue };
            if FOR_TESTS.contains(&other) && *section != "dev-dependencies" && !is_for_tests {
                found.push(format!(
                    "crates/{name}: {package} is for tests, expected it in [dev-dependencies]"
                ));
            }
            if name == "lab" && matches!(other, "dataplane" | "diagnose") {
                found.push(format!(
                    "crates/lab: the truth must not be computed by what it judges ({package})"
                ));
            }
            let is_below = match (own, layer(other)) {
                (Some(own), Some(other)) => other < own,
                _ => true,
            };
            if *section == "dependencies" && !is_below {
                found.push(format!("crates/{name}: {package} is in no lower layer"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, manifest: &str) -> Vec<String> {
        of_crate(name, &dependencies(&manifest.parse().unwrap()))
    }

    #[test]
    fn a_crate_uses_only_lower_layers() {
        assert_eq!(of("diagnose", "[dependencies]\nhopwise-change = {}"), Vec::<String>::new());
        let found = of("change", "[dependencies]\nhopwise-diagnose = {}\ntokio = {}");
        assert_eq!(
            found,
            [
                "crates/change: hopwise-diagnose is in no lower layer",
                "crates/change: it is pure, and tokio is not"
            ]
        );
        assert_eq!(of("x", "").len(), 1);
        assert_eq!(of("cli", "[dependencies]\nhopwise-testkit = {}").len(), 1);
        assert_eq!(of("cli", "[dev-dependencies]\nhopwise-testkit = {}"), Vec::<String>::new());
        assert_eq!(of("lab", "[dev-dependencies]\nhopwise-dataplane = {}").len(), 1);
    }
}
