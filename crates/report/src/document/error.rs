//! `hopwise/error/v1`.

use std::error::Error;

use schemars::JsonSchema;
use serde::Serialize;

use super::Document;

/// Why a command could not do what was asked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/error/v1")]
pub struct ErrorDocument {
    /// `hopwise/error/v1`.
    pub schema: &'static str,
    /// What failed.
    pub message: String,
    /// Why, each the cause of the one before.
    pub causes: Vec<String>,
    /// What to do about it; null where that is not known.
    pub next: Option<String>,
}

impl Document for ErrorDocument {
    const SCHEMA: &'static str = "hopwise/error/v1";
}

impl ErrorDocument {
    /// The document of an error and all that caused it.
    pub fn new(error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self { schema: Self::SCHEMA, message: error.to_string(), causes, next: None }
    }

    /// The document of a message.
    pub fn message(message: impl Into<String>) -> Self {
        Self { schema: Self::SCHEMA, message: message.into(), causes: Vec::new(), next: None }
    }

    /// The error in one line, for a person.
    pub fn line(&self) -> String {
        let all: Vec<&str> =
            std::iter::once(self.message.as_str()).chain(self.causes.iter().map(String::as_str)).collect();
        all.join(": ")
    }
}
