//! Which Hopwise this is.

use super::{Layout, page::Page};
use crate::document::VersionDocument;

/// A version for a person.
pub fn version(version: &VersionDocument) -> String {
    let mut page = Page::new(&Layout::default());
    let known = |it: &Option<String>| it.clone().unwrap_or_else(|| "not known".to_owned());
    page.line(0, &format!("hopwise {}", version.version));
    page.field(0, "commit", 17, &known(&version.commit));
    page.field(0, "rustc", 17, &known(&version.rustc));
    page.field(0, "kernel", 17, &known(&version.kernel));
    page.field(0, "snapshot format", 17, &version.snapshot_format.to_string());
    page.done()
}
