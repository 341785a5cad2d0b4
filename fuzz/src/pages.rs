//! Pages of the manual with their cases.

use std::{path::Path, sync::OnceLock};

use hopwise_snapshot::Snapshot;
use hopwise_testkit::{Page, base};

use crate::text;

/// A page, and what its cases do to a base. An error names a line of the page.
pub fn page(data: &[u8]) {
    static BASE: OnceLock<Snapshot> = OnceLock::new();
    let text = text(data);
    let n_lines = text.lines().count();
    let page = match Page::parse(Path::new("page.md"), &text) {
        Ok(page) => page,
        Err(error) => return assert!((1..=n_lines + 1).contains(&error.line), "{error}"),
    };
    let base = BASE.get_or_init(|| base("vxlan").unwrap_or_else(|error| panic!("{error}")));
    for case in page.cases {
        if let Err(error) = case.made(base) {
            assert!((1..=n_lines).contains(&error.line), "{error}");
        }
        let _ = case.expected_in(base);
    }
}
