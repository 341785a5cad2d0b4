//! `hopwise/causes/v1`.

use hopwise_diagnose::{Cause, causes};
use schemars::JsonSchema;
use serde::Serialize;

use super::Document;

/// Causes: all of them, or one with its manual page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/causes/v1")]
pub struct CausesDocument {
    /// `hopwise/causes/v1`.
    pub schema: &'static str,
    /// The causes, by code.
    pub causes: Vec<CauseEntry>,
}

/// One root-cause kind.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CauseEntry {
    /// Its code, `HW1001`; fixed for ever.
    pub code: String,
    /// Its name.
    pub name: String,
    /// The area that it belongs to: `node`, `firewall`, …
    pub area: String,
    /// What it does to packets, as a clause.
    pub summary: String,
    /// Its manual page as Markdown; null in a list of all causes, and where there is none yet.
    pub manual: Option<String>,
}

impl Document for CausesDocument {
    const SCHEMA: &'static str = "hopwise/causes/v1";
}

impl CausesDocument {
    /// The table of all causes.
    pub fn all() -> Self {
        let causes = causes::all().map(|it| CauseEntry { manual: None, ..CauseEntry::new(it) });
        Self { schema: Self::SCHEMA, causes: causes.collect() }
    }

    /// One cause with its manual page.
    pub fn one(cause: &Cause) -> Self {
        Self { schema: Self::SCHEMA, causes: vec![CauseEntry::new(cause)] }
    }
}

impl CauseEntry {
    fn new(cause: &Cause) -> Self {
        let manual = cause.manual.trim();
        Self {
            code: cause.code.to_string(),
            name: cause.name.to_owned(),
            area: causes::group(cause.code).to_owned(),
            summary: cause.summary.to_owned(),
            manual: (!manual.is_empty()).then(|| manual.to_owned()),
        }
    }
}
