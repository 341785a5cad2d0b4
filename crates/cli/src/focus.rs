//! Which part of a cluster is asked about: what concerns one namespace, or pods with some labels.
//!
//! Everything is read all the same: what breaks a flow of one namespace may lie anywhere.

use clap::Args;
use hopwise_dataplane::{Contract, Promise};
use hopwise_snapshot::{Cluster, Place, PodName, PodObject};

/// The options that choose a part of a cluster, as kubectl has them.
#[derive(Debug, Args)]
pub(crate) struct Focus {
    /// Ask about what comes from or goes to one namespace; that of the context is not taken by itself
    #[arg(short = 'n', long, value_name = "NS")]
    namespace: Option<String>,
    /// Ask about all namespaces; this is how it is without -n
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Ask about what comes from or goes to pods with these labels: `app=web,tier!=db`
    #[arg(short = 'l', long, value_name = "LABELS", value_parser = selector)]
    selector: Option<Selector>,
}

/// A choice of labels, with the text that it was written as.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selector {
    written: String,
    all: Vec<Requirement>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    /// It is there and has one of these values.
    In(String, Vec<String>),
    /// It has none of these values, or is not there.
    NotIn(String, Vec<String>),
    /// It is there.
    Exists(String),
    /// It is not there.
    Missing(String),
}

impl Focus {
    /// The namespace, where one was named.
    pub(crate) fn namespace(&self) -> Option<&String> {
        self.namespace.as_ref()
    }

    /// The words that choose the same on another command line.
    pub(crate) fn words(&self) -> Vec<(&'static str, Option<String>)> {
        vec![("-n", self.namespace.clone()), ("-l", self.selector.as_ref().map(|it| it.written.clone()))]
    }

    /// Is only a part asked about?
    pub(crate) fn is_narrow(&self) -> bool {
        self.namespace.is_some() || self.selector.is_some()
    }

    /// Keeps of a contract what is asked about.
    pub(crate) fn narrow(&self, cluster: &Cluster, contract: &mut Contract) {
        if self.is_narrow() {
            contract.promises.retain(|it| self.concerns(cluster, it));
        }
    }

    /// Does it come from, or go to, what is asked about?
    fn concerns(&self, cluster: &Cluster, promise: &Promise) -> bool {
        let from = match &promise.from {
            Place::Pod(name) => self.has_pod(cluster, name),
            Place::Node(_) => false,
        };
        from || self.is_target(cluster, &promise.to)
    }

    fn has_pod(&self, cluster: &Cluster, name: &PodName) -> bool {
        self.has_namespace(&name.namespace)
            && self.selector.as_ref().is_none_or(|it| cluster.pod(name).is_some_and(|pod| it.takes(pod)))
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|it| it == namespace)
    }

    /// Is this (`pod/NS/NAME:PORT/tcp`, `svc/NS/NAME:PORT/tcp`) a pod that is asked about, or a Service of one?
    fn is_target(&self, cluster: &Cluster, to: &str) -> bool {
        let mut parts = to.split(['/', ':']);
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        match kind {
            "pod" => self.has_pod(cluster, &PodName::new(namespace, name)),
            "svc" if self.selector.is_none() => self.has_namespace(namespace),
            "svc" => {
                let slices =
                    cluster.service(namespace, name).into_iter().flat_map(|it| cluster.slices_of(it));
                let references = slices.flat_map(|it| &it.endpoints).filter_map(|it| it.target_ref.as_ref());
                let mut pods = references.filter(|it| it.kind == "Pod");
                pods.any(|it| self.has_pod(cluster, &PodName::new(namespace, &it.name)))
            }
            _ => false,
        }
    }
}

impl Selector {
    fn takes(&self, pod: &PodObject) -> bool {
        let label = |key: &String| pod.metadata.labels.get(key);
        self.all.iter().all(|it| match it {
            Requirement::In(key, values) => label(key).is_some_and(|it| values.contains(it)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|it| !values.contains(it)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Missing(key) => label(key).is_none(),
        })
    }
}

/// Reads labels as kubectl takes them: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, with commas between.
fn selector(written: &str) -> Result<Selector, String> {
    let wrong = |part: &str| {
        format!(
            "expected labels as `app=web`, `app!=web`, `app in (web,db)`, `app` or `!app`, found `{part}`"
        )
    };
    let mut all = Vec::new();
    for part in parts(written) {
        let part = part.trim();
        let requirement = requirement(part).ok_or_else(|| wrong(part))?;
        all.push(requirement);
    }
    Ok(Selector { written: written.to_owned(), all })
}

/// What stands between commas that are in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_inside) = (Vec::new(), 0, false);
    for (at, sign) in text.char_indices() {
        match sign {
            '(' => is_inside = true,
            ')' => is_inside = false,
            ',' if !is_inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return word(key).map(Requirement::Missing);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(word(key)?, vec![value_of(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(word(key)?, vec![value_of(value)?]));
    }
    if let Some((head, values)) = part.strip_suffix(')').and_then(|it| it.split_once('(')) {
        let mut head = head.split_whitespace();
        let (key, operator) = (word(head.next()?)?, head.next()?);
        let values = values.split(',').map(value_of).collect::<Option<Vec<_>>>()?;
        return match (operator, head.next()) {
            ("in", None) => Some(Requirement::In(key, values)),
            ("notin", None) => Some(Requirement::NotIn(key, values)),
            _ => None,
        };
    }
    word(part).map(Requirement::Exists)
}

/// A label's name.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let is_fine = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
    (!text.is_empty() && text.chars().all(is_fine)).then(|| text.to_owned())
}

/// A label's value, which may be empty.
fn value_of(text: &str) -> Option<String> {
    if text.trim().is_empty() { Some(String::new()) } else { word(text).filter(|it| !it.contains('/')) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "each test writes its labels where they are used")]
    fn takes(written: &str, labels: serde_json::Value) -> bool {
        let pod: PodObject =
            serde_json::from_value(json!({"metadata": {"name": "p", "labels": labels}})).unwrap();
        selector(written).unwrap().takes(&pod)
    }

    #[test]
    fn labels_are_chosen_as_kubectl_chooses_them() {
        let web = || json!({"app": "web", "tier": "front", "empty": ""});
        for all in [
            "app=web",
            "app==web",
            "app=web,tier!=db",
            "app in (db, web)",
            "tier notin (db),app",
            "!x",
            "x!=y",
            "empty=",
        ] {
            assert!(takes(all, web()), "{all}");
        }
        for none in ["app=db", "app!=web", "app notin (web,db)", "x", "!app", "app=web,x=y", "x in (y)"] {
            assert!(!takes(none, web()), "{none}");
        }
    }

    #[test]
    fn what_is_no_choice_is_told() {
        for wrong in ["", "=", "a b", "a in b", "a in (b", "a on (b)", "a=b/c", "a,,b", "(a)"] {
            let error = selector(wrong).unwrap_err();
            assert!(error.starts_with("expected labels as"), "{wrong}: {error}");
        }
    }
}
