//! Label selectors.

use std::collections::BTreeMap;

use hopwise_snapshot::LabelSelector;

/// A truth that may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    pub(crate) fn of(is_true: bool) -> Self {
        if is_true { Self::Yes } else { Self::No }
    }

    /// Yes where both are, no where one is not.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }
}

/// Does a selector choose an object with these labels (`LabelSelectorAsSelector`, Kubernetes 1.34
/// `apimachinery/pkg/apis/meta/v1/helpers.go`)? All parts must; an empty selector chooses everything.
///
/// Unknown with an operator that the API does not have.
pub(crate) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Truth {
    let has_all = selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    let mut truth = Truth::of(has_all);
    for requirement in &selector.match_expressions {
        let value = labels.get(&requirement.key);
        let is_listed = value.is_some_and(|it| requirement.values.contains(it));
        truth = truth.and(match requirement.operator.as_str() {
            "In" => Truth::of(is_listed),
            // An object without the label is chosen too.
            "NotIn" => Truth::of(!is_listed),
            "Exists" => Truth::of(value.is_some()),
            "DoesNotExist" => Truth::of(value.is_none()),
            _ => Truth::Unknown,
        });
    }
    truth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)]) -> Truth {
        let selector: LabelSelector = serde_json::from_str(selector).unwrap();
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        selects(&selector, &labels)
    }

    #[test]
    fn an_empty_selector_chooses_everything() {
        assert_eq!(check("{}", &[]), Truth::Yes);
        assert_eq!(check("{}", &[("a", "b")]), Truth::Yes);
    }

    #[test]
    fn all_labels_and_all_expressions_must_hold() {
        let selector = r#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["front","edge"]}]}"#;
        assert_eq!(check(selector, &[("app", "web"), ("tier", "edge")]), Truth::Yes);
        assert_eq!(check(selector, &[("app", "web")]), Truth::No);
        assert_eq!(check(selector, &[("app", "db"), ("tier", "edge")]), Truth::No);
    }

    #[test]
    fn not_in_chooses_objects_without_the_label() {
        let selector = r#"{"matchExpressions":[{"key":"env","operator":"NotIn","values":["prod"]}]}"#;
        assert_eq!(check(selector, &[]), Truth::Yes);
        assert_eq!(check(selector, &[("env", "test")]), Truth::Yes);
        assert_eq!(check(selector, &[("env", "prod")]), Truth::No);
    }

    #[test]
    fn presence_is_asked_without_a_value() {
        let exists = r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#;
        let absent = r#"{"matchExpressions":[{"key":"a","operator":"DoesNotExist"}]}"#;
        assert_eq!((check(exists, &[("a", "")]), check(exists, &[])), (Truth::Yes, Truth::No));
        assert_eq!((check(absent, &[("a", "")]), check(absent, &[])), (Truth::No, Truth::Yes));
    }

    #[test]
    fn an_operator_that_does_not_exist_decides_nothing() {
        let selector = r#"{"matchExpressions":[{"key":"a","operator":"Gt","values":["1"]}]}"#;
        assert_eq!(check(selector, &[("a", "2")]), Truth::Unknown);
    }
}
