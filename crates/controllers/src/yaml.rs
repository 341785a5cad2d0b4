//! Configuration files in YAML.

use serde::de::DeserializeOwned;

/// Why a configuration file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", self.place())]
pub struct YamlError {
    /// The line, from 1, where one is to blame.
    pub line: Option<u64>,
    /// The column, from 1.
    pub column: Option<u64>,
    /// What was expected or found, as a fragment.
    pub reason: String,
}

impl YamlError {
    fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("line {line}, column {column}: "),
            _ => String::new(),
        }
    }
}

/// Reads a document. Like Kubernetes' own reader it takes the words of YAML 1.1 for booleans (`yes`, `off`) and an
/// empty document for one without fields.
pub(crate) fn parse<T: DeserializeOwned + Default>(text: &str) -> Result<T, YamlError> {
    match serde_saphyr::from_str::<Option<T>>(text) {
        Ok(document) => Ok(document.unwrap_or_default()),
        Err(error) => Err(YamlError {
            line: error.location().map(|it| it.line()),
            column: error.location().map(|it| it.column()),
            reason: reason(&error),
        }),
    }
}

/// The message in one line, without the place and the excerpt that the library adds.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    match first.split_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_document_has_no_fields() {
        for text in ["", "\n", "# nothing\n", "---\n", "{}"] {
            assert_eq!(parse::<BTreeMap<String, bool>>(text), Ok(BTreeMap::new()), "{text:?}");
        }
    }

    #[test]
    fn booleans_are_those_of_kubernetes() {
        let read = parse::<BTreeMap<String, bool>>("a: yes\nb: off\nc: True\n").unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn an_error_names_its_place_once() {
        let error = parse::<BTreeMap<String, bool>>("a: true\nb: 7\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("line 2, column 4: "), "{text}");
        assert_eq!(text.matches("line").count(), 1, "{text}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,100}") {
            let _ = parse::<BTreeMap<String, bool>>(&text);
        }
    }
}
