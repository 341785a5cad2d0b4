//! Configuration files in JSON, read as Go reads them.

use serde_json::Value;

/// Why a configuration file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("line {line}, column {column}: not JSON: {reason}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column.
        column: usize,
        /// What was expected.
        reason: String,
    },
    /// A field has a value that its reader refuses.
    #[error("`{field}`: expected {expected}, found `{found}`")]
    Field {
        /// The field as its documentation spells it.
        field: &'static str,
        /// What would have been understood.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
}

pub(crate) fn parse(text: &str) -> Result<Value, JsonError> {
    serde_json::from_str(text).map_err(|error| JsonError::NotJson {
        line: error.line(),
        column: error.column(),
        reason: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    })
}

/// The fields of a JSON object, found as Go's decoder finds them: without regard to case, `null` is like absence.
pub(crate) struct Fields<'a>(&'a serde_json::Map<String, Value>);

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value, field: &'static str) -> Result<Self, JsonError> {
        value.as_object().map(Self).ok_or_else(|| wrong(field, "an object", value))
    }

    pub(crate) fn find(&self, field: &'static str) -> Option<&'a Value> {
        let exact = self.0.get(field);
        let mut alike = self.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(field)).map(|it| it.1);
        exact.or_else(|| alike.next()).filter(|it| !it.is_null())
    }

    pub(crate) fn boolean(&self, field: &'static str) -> Result<Option<bool>, JsonError> {
        let Some(value) = self.find(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| wrong(field, "true or false", value))
    }

    pub(crate) fn text(&self, field: &'static str) -> Result<Option<&'a str>, JsonError> {
        let Some(value) = self.find(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(field, "a text", value))
    }

    pub(crate) fn number(&self, field: &'static str, most: u32) -> Result<Option<u32>, JsonError> {
        let Some(value) = self.find(field) else { return Ok(None) };
        let number = value.as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| *it <= most);
        number.map(Some).ok_or_else(|| wrong(field, "a number in its range", value))
    }

    pub(crate) fn parsed<T: std::str::FromStr>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, JsonError> {
        let Some(value) = self.find(field) else { return Ok(None) };
        let parsed = value.as_str().and_then(|it| it.parse().ok());
        parsed.map(Some).ok_or_else(|| wrong(field, expected, value))
    }
}

fn wrong(field: &'static str, expected: &'static str, found: &Value) -> JsonError {
    JsonError::Field { field, expected, found: found.to_string().chars().take(80).collect() }
}
