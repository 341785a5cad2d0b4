//! The API server's objects, field by field.

use serde::Serialize;
use serde_json::Value;

use super::{Facts, line};
use crate::{Cluster, Element, Observed, Scope};

pub(super) fn of_cluster(facts: &mut Facts<'_>, cluster: &Cluster) {
    objects(facts, "node", &cluster.nodes);
    objects(facts, "pod", &cluster.pods);
    objects(facts, "service", &cluster.services);
    objects(facts, "endpointslice", &cluster.endpoint_slices);
    objects(facts, "configmap", &cluster.config_maps);
    objects(facts, "networkpolicy", &cluster.network_policies);
    objects(facts, "namespace", &cluster.namespaces);
    objects(facts, "workload", &cluster.workloads);
    for (resource, reason) in &cluster.partly {
        facts.not_collected(Element::new(&Scope::Cluster, [kind_of(resource)]), reason);
    }
}

/// The kind in the names of a resource's objects.
fn kind_of(resource: &str) -> &str {
    match resource {
        "networkpolicies" => "networkpolicy",
        other => other.strip_suffix('s').unwrap_or(other),
    }
}

fn objects<T: Serialize>(facts: &mut Facts<'_>, kind: &str, list: &Observed<Vec<T>>) {
    for object in facts.items(|| Element::new(&Scope::Cluster, [kind]), list) {
        let Ok(Value::Object(object)) = serde_json::to_value(object) else { continue };
        let own_kind = object.get("kind").and_then(Value::as_str).map(str::to_lowercase);
        let kind = own_kind.as_deref().unwrap_or(kind);
        let meta = |key: &str| object.get("metadata").and_then(|it| it.get(key)).and_then(Value::as_str);
        let (namespace, name) = (meta("namespace").unwrap_or_default(), meta("name").unwrap_or_default());
        let mut add = |field: &str, value: &Value| {
            if !is_empty(value) {
                facts.add(Element::object(kind, namespace, name, Some(field)), line(&value_text(value)));
            }
        };
        for (key, value) in &object {
            match (key.as_str(), value) {
                // The element's name says them.
                ("kind", _) => {}
                ("data", Value::Object(data)) => data.iter().for_each(|(key, value)| add(key, value)),
                (_, Value::Object(fields)) => {
                    let named = fields.iter().filter(|(it, _)| !matches!(it.as_str(), "name" | "namespace"));
                    named.for_each(|(field, value)| add(&format!("{key}.{field}"), value));
                }
                _ => add(key, value),
            }
        }
    }
}

/// Fields that nobody set are not facts.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
