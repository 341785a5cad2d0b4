//! The tier tidy: sources and pages are in order, and what is generated is up to date.

use hopwise_testkit::workspace;

#[test]
fn sources_and_pages_are_in_order() {
    let found = xtask::tidy::findings(&workspace()).unwrap();
    assert!(found.is_empty(), "{} not in order:\n{}", found.len(), found.join("\n"));
}

#[test]
fn generated_documents_are_up_to_date() {
    let stale = xtask::manual::stale(&workspace()).unwrap();
    assert!(stale.is_empty(), "`cargo xtask gen` writes these anew:\n{}", stale.join("\n"));
}
