//! The terminal run in README.md is what the program does today.

use std::{fs, path::Path};

use crate::harness::{Labs, plain_user, program};

/// The run: each command, and what it prints.
fn commands(readme: &str) -> Vec<(&str, String)> {
    let (_, from) = readme.split_once("```console\n").unwrap();
    let (run, _) = from.split_once("```").unwrap();
    let parts = run.split("$ hopwise ").skip(1);
    let command = |part| {
        let (words, told): (&str, &str) = str::split_once(part, '\n').unwrap();
        (words, comparable(told))
    };
    parts.map(command).collect()
}

/// The words of a text, wherever a terminal breaks its lines; without how long something took, which goes to standard
/// error, and without the names of veth interfaces, which are new in each lab.
fn comparable(text: &str) -> String {
    let lines = text.lines().filter(|it| !it.starts_with("read "));
    let words = lines.flat_map(str::split_whitespace);
    words.map(|it| if it.starts_with("veth") { "veth" } else { it }).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_terminal_run_of_the_readme_is_what_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(path).unwrap();
    let labs = Labs::new(plain_user());
    let commands = commands(&readme);
    assert!(commands.iter().any(|(words, _)| words.starts_with("diagnose ")), "{commands:?}");
    for (words, expected) in commands {
        let output = labs.command(program()).args(words.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(comparable(&told), expected, "$ hopwise {words}\n{told}\n{said}");
    }
}
