//! `hopwise image`.

use std::fs;

use crate::harness::{command, ran};

#[test]
fn a_program_that_needs_a_c_library_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    // The shell of whatever system this is needs one.
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let file = directory.path().join("hopwise.tar");
    let ran = ran(command().args(["image", "--program"]).arg(&shell).arg("-o").arg(&file));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let told = format!("error: {} is dynamically linked: it is started by /lib", shell.display());
    assert!(ran.stderr.starts_with(&told), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: `make static` builds"), "{}", ran.stderr);
    assert!(!file.exists());
}

#[test]
fn what_is_no_program_is_told() {
    let ran = ran(command().args(["image", "--program", "healthy.hop", "-o", "/nonexistent/x.tar"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.starts_with("error: healthy.hop is no program for an image: expected a 64-bit ELF"),
        "{}",
        ran.stderr
    );
}
