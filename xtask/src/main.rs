//! `cargo xtask`: what is done with the sources.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::process::ExitCode;

use anyhow::{Result, bail};
use hopwise_testkit::workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  gen [--check]          write docs/src/causes from the causes' pages, or say what is not up to date
  tidy                   say where sources and pages are not in order
  new-cause GROUP NAME [CODE]
                         write a new cause's two files, and the lines that register it
  bases                  capture the healthy base clusters of the cases anew
  test kernel|lab [WORD...]
                         run the tests that need namespaces; words go to the test program
  cluster COMMAND        a real cluster in namespaces of this machine; `cluster` alone lists the commands";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let root = workspace();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["gen"] => {
            let written = xtask::manual::write(&root)?;
            println!("{written} files written");
        }
        ["gen", "--check"] => {
            told(&xtask::manual::stale(&root)?, "not up to date; `cargo xtask gen` writes them")?;
        }
        ["tidy"] => told(&xtask::tidy::findings(&root)?, "not in order")?,
        ["new-cause", group, name] => print_all(&xtask::new_cause::write(&root, group, name, None)?),
        ["new-cause", group, name, code] => {
            print_all(&xtask::new_cause::write(&root, group, name, Some(code))?);
        }
        ["bases"] => print_all(&xtask::bases::capture(&root)?),
        ["test", tier @ ("kernel" | "lab"), rest @ ..] => xtask::tiers::run(&root, tier, rest)?,
        ["cluster", rest @ ..] => xtask::cluster::run(&root, rest)?,
        _ => bail!("{USAGE}"),
    }
    Ok(())
}

fn print_all(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

fn told(found: &[String], what: &str) -> Result<()> {
    print_all(found);
    if !found.is_empty() {
        bail!("{} {what}", found.len());
    }
    Ok(())
}
