//! Wrong command lines and damaged files: code 2, a clear word, no panic.

use std::{fs, path::Path};

use insta::assert_snapshot;

use crate::harness::{Ran, command, directory, hopwise, ran};

/// Runs `hopwise diagnose` on a file with these bytes.
fn diagnose(bytes: &[u8]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file.hop"), bytes).unwrap();
    let ran = ran(command().current_dir(directory.path()).args(["diagnose", "--snapshot", "file.hop"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stdout.is_empty());
    ran
}

fn broken() -> Vec<u8> {
    fs::read(directory().join("broken.hop")).unwrap()
}

#[test]
fn a_file_that_was_cut_short() {
    let bytes = broken();
    let ran = diagnose(&bytes[..bytes.len() / 2]);
    assert!(
        ran.stderr.contains("file.hop") && ran.stderr.contains("the file is cut short"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("next: copy the file again"), "{}", ran.stderr);
}

#[test]
fn a_file_cut_anywhere_is_refused_without_panic() {
    let bytes = broken();
    for end in [0, 1, 10, 18, 19, 20, 25, 1000, bytes.len() - 9, bytes.len() - 1] {
        let ran = diagnose(&bytes[..end]);
        assert!(ran.stderr.starts_with("error: file.hop"), "{end}: {}", ran.stderr);
    }
}

#[test]
fn a_file_with_a_damaged_middle() {
    let mut bytes = broken();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let ran = diagnose(&bytes);
    assert!(ran.stderr.starts_with("error: file.hop is not a snapshot that can be read"), "{}", ran.stderr);
}

#[test]
fn a_file_of_a_newer_version() {
    let bytes = broken();
    let end = bytes.iter().position(|it| *it == b'\n').unwrap();
    let newer = [b"hopwise-snapshot 999", &bytes[end..]].concat();
    assert_snapshot!(diagnose(&newer).told());
}

#[test]
fn a_file_that_is_something_else() {
    assert_snapshot!(diagnose(b"apiVersion: v1\nkind: Pod\n").told());
    diagnose(&[0; 4096]);
}

#[test]
fn a_file_that_is_not_there_or_a_directory() {
    let missing = hopwise(&["diagnose", "--snapshot", "nowhere.hop"]);
    assert_snapshot!(missing.told(), @r"
    [stderr] error: failed to read nowhere.hop: No such file or directory (os error 2)
    [exit code] 2
    ");
    let directory = hopwise(&["diagnose", "--snapshot", "."]);
    assert_snapshot!(directory.told(), @r"
    [stderr] error: failed to read .: Is a directory (os error 21)
    [stderr] next: expected one .hop file, as `hopwise collect -o FILE` writes it
    [exit code] 2
    ");
}

#[test]
fn a_document_with_a_wrong_field() {
    use std::io::Write;
    let mut text = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut text, flate2::Compression::fast());
    encoder.write_all(b"{\"takenAt\": 7}").unwrap();
    encoder.finish().unwrap();
    let ran = diagnose(&[b"hopwise-snapshot 1\n", text.as_slice()].concat());
    assert!(ran.stderr.contains("line 1, column 13"), "{}", ran.stderr);
}

#[test]
fn no_source() {
    assert_snapshot!(hopwise(&["diagnose"]).told());
}

#[test]
fn a_lab_that_is_not_there() {
    assert_snapshot!(hopwise(&["diagnose", "--lab", "nowhere"]).told());
}

#[test]
fn names_that_are_not_in_the_snapshot() {
    let trace = |from: &str, to: &str| {
        let ran = hopwise(&["trace", from, to, "--snapshot", "healthy.hop"]);
        assert_eq!(ran.code, Some(2), "{from} {to}: {ran:?}");
        let told = ran.stderr.lines().filter(|it| !it.starts_with("read "));
        told.collect::<Vec<_>>().join("\n")
    };
    let all = [
        ("pod/default/clinet-cp", "pod/default/echo-w1"),
        ("pod/default/client-cp", "pod/default/eco-w1"),
        ("node/w9", "node/w1"),
        ("pod/default/client-cp", "svc/shop/carts"),
        ("pod/default/client-cp", "svc/kube-system/kube-dns"),
        ("svc/shop/cart", "node/w1"),
        ("pod/default/client-cp:80", "node/w1"),
        ("pod/default/client-cp", "pod/default/echo-w1:80/sctp"),
        ("pod/default/client-cp", "echo-w1"),
        ("pod/default", "node/w1"),
        ("node/cp", "www.example.test:80/tcp"),
    ]
    .map(|(from, to)| format!("{from} {to}\n{}\n", trace(from, to)));
    assert_snapshot!(all.join("\n"));
}

#[test]
fn causes_that_the_catalogue_does_not_have() {
    let all = [
        &["explain", "node-ip-foward-off"][..],
        &["explain", "ip-forward"],
        &["explain", "HW1003"],
        &["explain", "xyzzy"],
        &["diagnose", "--snapshot", "healthy.hop", "--ignore", "HW1001,HW9999"],
    ]
    .map(|words| format!("{words:?}\n{}\n", hopwise(words).told()));
    assert_snapshot!(all.join("\n"));
}

#[test]
fn modes_and_options_that_there_are_not() {
    let all = [
        &["diagnose", "--snapshot", "healthy.hop", "--probe", "full"][..],
        &["diagnose", "--snapshot", "healthy.hop", "--lab", "x"],
        &["diagnose", "--snapshot", "healthy.hop", "-o", "toml"],
        &["diagnose", "pod/default/client-cp", "--snapshot", "healthy.hop"],
        &["diff", "healthy.hop"],
        &["diff", "w1", "w7", "--snapshot", "healthy.hop"],
        &["collect", "--snapshot", "healthy.hop", "-o", "/nonexistent/x.hop"],
        &["frobnicate"],
    ]
    .map(|words| {
        let ran = hopwise(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
        format!("{words:?}\n{}\n", ran.told())
    });
    assert_snapshot!(all.join("\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let script = format!("{} causes | head -1", Path::new(env!("CARGO_BIN_EXE_hopwise")).display());
    let ran = ran(std::process::Command::new("sh").args(["-c", &script]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
