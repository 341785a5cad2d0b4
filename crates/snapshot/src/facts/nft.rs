//! `nft -j list ruleset`: an array of objects with one key each (libnftables-json(5)).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Facts, at, netfilter::Chains};
use crate::{Element, Place};

/// The tables that another tool shows already, as family and name.
type Shown<'a> = BTreeSet<(&'a str, &'a str)>;

/// Keys whose values pass: counters, times, and numbers that are new after each load.
const PASSING: &[&str] = &["packets", "bytes", "used", "expires", "handle", "index"];

pub(super) fn of_listing(facts: &mut Facts<'_>, place: &Place, text: &str, shown: &Shown<'_>) {
    let items = match items(text) {
        Ok(items) => items,
        Err(error) => return facts.add(at(place, ["nft"]), format!("not understood: {error}")),
    };
    for item in &items {
        let Some((kind, object)) = kind_and_object(item).filter(|(kind, _)| *kind != "metainfo") else {
            continue;
        };
        let word = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let family = word("family");
        let table = if kind == "table" { word("name") } else { word("table") };
        if shown.contains(&(family, table)) {
            continue;
        }
        match kind {
            "table" => facts.add(Element::nft_table(place, family, table), rest_text(object, "a table")),
            "chain" => of_chain(facts, place, object),
            "rule" => of_rule(facts, place, object),
            "set" | "map" => of_set(facts, place, object),
            _ => {
                let element = at(place, ["nft", family, table, kind, word("name")]);
                facts.add(element, rest_text(object, "there"));
            }
        }
    }
}

/// The rules of each chain, in order.
pub(super) fn add_chains(chains: &mut Chains, place: &Place, text: &str, shown: &Shown<'_>) {
    for item in items(text).unwrap_or_default() {
        let Some(("rule", rule)) = kind_and_object(&item) else { continue };
        let word = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
        let (family, table, chain) = (word("family"), word("table"), word("chain"));
        if !shown.contains(&(family, table)) {
            let whole = Element::nft_chain(place, family, table, chain);
            chains.entry(whole).or_default().push((rule_element(place, rule), rule_text(rule)));
        }
    }
}

fn items(text: &str) -> Result<Vec<Value>, String> {
    let document: Value = serde_json::from_str(text).map_err(|it| it.to_string())?;
    match document {
        Value::Object(mut document) => match document.remove("nftables") {
            Some(Value::Array(items)) => Ok(items),
            _ => Err("expected an array `nftables`".to_owned()),
        },
        _ => Err("expected an object".to_owned()),
    }
}

fn kind_and_object(item: &Value) -> Option<(&str, &Map<String, Value>)> {
    let (kind, object) = item.as_object()?.iter().next()?;
    Some((kind, object.as_object()?))
}

fn of_chain(facts: &mut Facts<'_>, place: &Place, chain: &Map<String, Value>) {
    let word = |key: &str| chain.get(key).and_then(Value::as_str).unwrap_or_default();
    let (family, table, name) = (word("family"), word("table"), word("name"));
    facts.add(Element::nft_chain(place, family, table, name), rest_text(chain, "a chain"));
    if !word("policy").is_empty() {
        facts.add(Element::nft_policy(place, family, table, name), word("policy").to_owned());
    }
}

fn of_rule(facts: &mut Facts<'_>, place: &Place, rule: &Map<String, Value>) {
    let element = rule_element(place, rule);
    let mut counters = Vec::new();
    for expression in rule.get("expr").and_then(Value::as_array).into_iter().flatten() {
        if let Some(Value::Object(counter)) = expression.get("counter") {
            let number = |key: &str| counter.get(key).and_then(Value::as_u64).unwrap_or_default();
            counters.push(format!("{}:{}", number("packets"), number("bytes")));
        }
    }
    if !counters.is_empty() {
        let mut parts = element.parts();
        parts.push("counters".to_owned());
        facts.add_passing(at(place, parts), counters.join(" "));
    }
    facts.add(element, rule_text(rule));
}

fn rule_element(place: &Place, rule: &Map<String, Value>) -> Element {
    let word = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
    let handle = rule.get("handle").and_then(Value::as_u64).unwrap_or_default();
    Element::nft_rule(place, word("family"), word("table"), word("chain"), handle)
}

fn rule_text(rule: &Map<String, Value>) -> String {
    let expressions = rule.get("expr").map_or_else(String::new, |it| lasting(it).to_string());
    match rule.get("comment").and_then(Value::as_str) {
        Some(comment) => format!("{expressions} comment \"{comment}\""),
        None => expressions,
    }
}

fn of_set(facts: &mut Facts<'_>, place: &Place, set: &Map<String, Value>) {
    let word = |key: &str| set.get(key).and_then(Value::as_str).unwrap_or_default();
    let (family, table, name) = (word("family"), word("table"), word("name"));
    let whole = Element::nft_set(place, family, table, name);
    for element in set.get("elem").and_then(Value::as_array).into_iter().flatten() {
        facts.add(Element::nft_set_element(place, family, table, name, element), "there".to_owned());
    }
    facts.add(whole, rest_text(set, "a set"));
}

/// What an object says besides its name, its place and its content.
fn rest_text(object: &Map<String, Value>, nothing: &str) -> String {
    let named = ["family", "table", "name", "elem", "policy"];
    let rest = object.iter().filter(|(key, _)| !named.contains(&key.as_str()));
    let rest: Map<String, Value> = rest
        .filter(|(key, _)| !PASSING.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), lasting(v)))
        .collect();
    if rest.is_empty() { nothing.to_owned() } else { Value::Object(rest).to_string() }
}

/// A value without what passes.
pub(crate) fn lasting(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(lasting).collect()),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !PASSING.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), lasting(value))).collect())
        }
        other => other.clone(),
    }
}
