//! Every source file: its first line, its length, and words that have no place in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// The most lines of a file that says nothing of why it is longer.
const MOST_LINES: usize = 800;
/// What the module documentation of a longer file says.
const EXCUSE: &str = "Long because ";

/// What must not stand in a source, and why. Written in two parts, so that this file does not hold them.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("#[ign", "ore", "a test that is left out looks like one that passes"),
    ("#[should", "_panic", "assert what is returned"),
    ("dbg", "!(", "left over from debugging"),
    ("todo", "!(", "unfinished"),
    ("unimplemented", "!(", "unfinished"),
    ("TO", "DO", "unfinished"),
    ("FIX", "ME", "unfinished"),
    ("/wo", "rk/", "a path of somebody's machine"),
];

/// Where sources lie.
const DIRECTORIES: [&str; 3] = ["crates", "test", "xtask"];

/// What is wrong with sources and pages.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        collect(&root.join(directory), &mut files)?;
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = fs::read_to_string(&file)?;
        if file.extension().is_some_and(|it| it == "rs") {
            found.extend(of_source(&name, &text));
        }
        found.extend(forbidden(&name, &text));
    }
    Ok(found)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "samples" && name != "target" {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "rs" || it == "md" || it == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn of_source(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let doc: Vec<&str> = text.lines().take_while(|it| it.starts_with("//!")).collect();
    if doc.first().is_none_or(|it| it.trim() == "//!") {
        found.push(format!("{name}:1: expected module documentation (`//! What this is.`)"));
    }
    let n_lines = text.lines().count();
    if n_lines > MOST_LINES && !doc.iter().any(|it| it.contains(EXCUSE)) {
        found.push(format!(
            "{name}: {n_lines} lines; from {MOST_LINES} on the module documentation says why (`{EXCUSE}…`)"
        ));
    }
    found
}

fn forbidden(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (first, second, why) in FORBIDDEN {
            let word = format!("{first}{second}");
            if line.contains(&word) {
                found.push(format!("{name}:{}: `{word}`: {why}", at + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(of_source("a.rs", "//! A.\n"), Vec::<String>::new());
        assert_eq!(of_source("a.rs", "use b;\n").len(), 1);
        assert_eq!(of_source("a.rs", "").len(), 1);
    }

    #[test]
    fn a_long_file_says_why() {
        let lines = "//\n".repeat(MOST_LINES);
        assert_eq!(of_source("a.rs", &format!("//! A.\n{lines}")).len(), 1);
        assert_eq!(
            of_source("a.rs", &format!("//! A.\n//!\n//! Long because it is a list.\n{lines}")).len(),
            0
        );
    }

    #[test]
    fn a_forbidden_word_is_named_with_its_line() {
        let word = ["TO", "DO"].concat();
        assert_eq!(forbidden("a.md", &format!("x\n{word} y")), [format!("a.md:2: `{word}`: unfinished")]);
    }
}
