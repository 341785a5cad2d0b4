//! The documents at the root name only what there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::harness::hopwise;

const DOCUMENTS: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "STYLE.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The commands in a document that begin with this word: what stands in code, blocks and spans.
fn commands(document: &str, program: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut is_block = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            let line = line.trim_start().trim_start_matches("$ ");
            commands.extend(line.split(" | ").map(str::to_owned));
        } else {
            commands.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let without_comment = |it: &String| it.split(" #").next().unwrap_or_default().trim().to_owned();
    let is_of_program = |it: &String| it.split(' ').next().is_some_and(|word| word.ends_with(program));
    commands.iter().map(without_comment).filter(is_of_program).collect()
}

/// The subcommands that a help lists.
fn subcommands(help: &str) -> BTreeSet<&str> {
    let listed = help.lines().skip_while(|it| *it != "Commands:").skip(1).take_while(|it| !it.is_empty());
    listed.filter_map(|it| it.strip_prefix("  ")?.split(' ').next()).filter(|it| !it.is_empty()).collect()
}

/// What is wrong with a command of the program, if anything.
fn wrong(command: &str) -> Option<String> {
    let ours: Vec<&str> = command.split(" -- ").next()?.split(' ').skip(1).collect();
    let mut path = vec!["help"];
    let mut rest = ours.as_slice();
    while let Some((word, others)) = rest.split_first() {
        let help = hopwise(&path).stdout;
        let listed = subcommands(&help);
        if listed.is_empty() || word.starts_with('-') {
            break;
        }
        if !listed.contains(word) {
            return Some(format!("`{command}`: there is no `{word}`"));
        }
        path.push(word);
        rest = others;
    }
    let help = hopwise(&path).stdout;
    let options = rest.iter().filter(|it| it.starts_with("--"));
    let unknown = options.map(|it| it.split('=').next().unwrap()).find(|it| !help.contains(it));
    unknown.map(|it| format!("`{command}`: there is no `{it}`"))
}

#[test]
fn every_command_in_the_documents_is_one_of_the_program() {
    let mut n_commands = 0;
    let mut found = Vec::new();
    for name in DOCUMENTS {
        for command in commands(&document(name), "hopwise") {
            n_commands += 1;
            found.extend(wrong(&command).map(|it| format!("{name}: {it}")));
        }
    }
    assert!(n_commands > 20, "{n_commands}");
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_command_that_is_not_there_would_be_found() {
    assert_eq!(wrong("hopwise fly"), Some("`hopwise fly`: there is no `fly`".to_owned()));
    assert_eq!(wrong("hopwise lab fly x"), Some("`hopwise lab fly x`: there is no `fly`".to_owned()));
    assert!(wrong("hopwise diagnose --fly").is_some());
    assert_eq!(wrong("hopwise diagnose --lab x -- --fly"), None);
}

#[test]
fn every_make_target_in_the_documents_is_in_the_makefile() {
    let makefile = document("Makefile");
    for name in DOCUMENTS {
        for command in commands(&document(name), "make") {
            for target in command.split(' ').skip(1).filter(|it| !it.contains('=')) {
                assert!(makefile.contains(&format!("\n{target}:")), "{name}: `{command}`");
            }
        }
    }
}

#[test]
fn every_path_in_the_documents_is_there() {
    for name in DOCUMENTS {
        let text = document(name);
        let spans = text.split('`').skip(1).step_by(2);
        let links = text.split("](").skip(1).filter_map(|it| it.split(')').next());
        let paths = spans.chain(links).filter(|it| {
            let is_ours =
                ["crates/", "docs/", "deploy/", "script/", ".ci/"].iter().any(|start| it.starts_with(start));
            let is_document = Path::new(it).extension().is_some_and(|it| it == "md");
            is_ours || (is_document && !it.contains(' ') && !it.starts_with('.'))
        });
        for path in paths {
            let path = path.split(' ').next().unwrap();
            assert!(root().join(path).exists(), "{name}: {path}");
        }
    }
}
