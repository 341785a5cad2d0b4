//! The manual: causes, help, completions.

use insta::assert_snapshot;

use crate::harness::hopwise;

#[test]
fn the_table_of_causes_names_each_with_what_it_does() {
    let ran = hopwise(&["causes"]);
    assert_eq!(ran.code, Some(0));
    for cause in hopwise_diagnose::causes::all() {
        let line = ran.stdout.lines().find(|it| it.contains(&cause.code.to_string())).unwrap();
        assert!(line.contains(cause.name) && line.contains(cause.summary), "{line}");
    }
}

#[test]
fn a_page_is_told_without_its_tests() {
    let ran = hopwise(&["explain", "hw1001"]);
    assert_snapshot!(ran.told());
    assert!(hopwise(&["explain", "HW1001", "-v"]).stdout.contains("inject"));
}

#[test]
fn every_cause_can_be_explained_by_code_and_by_name() {
    for cause in hopwise_diagnose::causes::all() {
        let by_code = hopwise(&["explain", &cause.code.to_string()]);
        assert_eq!(by_code.code, Some(0), "{}", cause.name);
        assert_eq!(by_code.stdout, hopwise(&["explain", cause.name]).stdout);
    }
}

#[test]
fn help_lists_what_there_is() {
    assert_snapshot!(hopwise(&["--help"]).told());
}

#[test]
fn help_of_a_diagnosis_says_how_flows_are_named() {
    assert_snapshot!(hopwise(&["diagnose", "--help"]).told());
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = hopwise(&["completion", shell]);
        assert_eq!(ran.code, Some(0));
        assert!(ran.stdout.contains("diagnose") && ran.stdout.contains("hopwise"), "{shell}");
    }
    assert_eq!(hopwise(&["completion", "tcl"]).code, Some(2));
}
