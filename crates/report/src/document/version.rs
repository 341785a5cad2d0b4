//! `hopwise/version/v1`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Document;

/// Which Hopwise this is, and what it runs on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/version/v1")]
pub struct VersionDocument {
    /// `hopwise/version/v1`.
    pub schema: &'static str,
    /// The version.
    pub version: String,
    /// The commit that it was built from; null where that is not known.
    pub commit: Option<String>,
    /// The compiler; null where that is not known.
    pub rustc: Option<String>,
    /// The release of the running kernel; null where it cannot be read.
    pub kernel: Option<String>,
    /// The newest format of snapshot files that it reads, and the one that it writes.
    pub snapshot_format: u32,
}

impl Document for VersionDocument {
    const SCHEMA: &'static str = "hopwise/version/v1";
}

impl VersionDocument {
    /// The document of a version.
    pub fn new(
        version: impl Into<String>,
        commit: Option<String>,
        rustc: Option<String>,
        kernel: Option<String>,
    ) -> Self {
        Self {
            schema: Self::SCHEMA,
            version: version.into(),
            commit,
            rustc,
            kernel,
            snapshot_format: hopwise_snapshot::hop::FORMAT,
        }
    }
}
