//! What nft prints, and what it does with packets.
#![allow(clippy::needless_pass_by_value, reason = "JSON is written where it is used")]

mod conditions;
mod listings;
mod statements;

use serde_json::{Value as Json, json};

use super::{emit, parse};
use crate::{
    Hook, Layer, Outcome, Remark, Ruleset, View,
    testing::{World, run},
};

/// A listing of one table `inet t` with the base chain `f` at a hook. `items` are what else it has, `rules`
/// the statements of the rules of `f`.
fn listing(hook: &str, items: &[Json], rules: &[Json]) -> Json {
    let kind = if matches!(hook, "prerouting" | "postrouting") { "nat" } else { "filter" };
    let mut all = vec![
        json!({ "metainfo": { "version": "1.0.6", "json_schema_version": 1 } }),
        json!({ "table": { "family": "inet", "name": "t", "handle": 1 } }),
        json!({ "chain": { "family": "inet", "table": "t", "name": "f", "handle": 1, "type": kind,
                           "hook": hook, "prio": 0, "policy": "accept" } }),
    ];
    all.extend_from_slice(items);
    all.extend(rules.iter().zip(10..).map(|(expr, handle)| {
        json!({ "rule": { "family": "inet", "table": "t", "chain": "f", "handle": handle, "expr": expr } })
    }));
    json!({ "nftables": all })
}

/// The items of a listing without what nft says of itself, in an order that does not depend on its version.
fn items(json: &Json) -> Vec<String> {
    let items = json["nftables"].as_array().unwrap().iter().filter(|it| it.get("metainfo").is_none());
    let mut all: Vec<String> = items.map(Json::to_string).collect();
    all.sort_unstable();
    all
}

/// Reads a listing that must be understood, and written back as it was.
#[track_caller]
fn understood(listing: &Json) -> Ruleset {
    let (tables, remarks) = parse(&listing.to_string());
    assert_eq!(remarks, []);
    let emitted = emit(&tables);
    assert_eq!(items(&serde_json::from_str(&emitted).unwrap()), items(listing), "written back");
    assert_eq!(parse(&emitted).0, tables, "read again");
    Ruleset { tables, ..Ruleset::default() }
}

/// What the first rule of the chain `f` says in the words of nft.
fn said(ruleset: &Ruleset) -> &str {
    &ruleset.tables[0].chains.get("f").unwrap().rules[0].text
}

/// Reads a listing of which something must not be understood.
fn remarks(listing: &Json) -> Vec<Remark> {
    let (tables, remarks) = parse(&listing.to_string());
    let emitted = emit(&tables);
    assert_eq!(parse(&emitted).0.len(), tables.len());
    remarks
}

/// Runs a packet through one rule at a hook.
#[track_caller]
fn does(hook: &str, items: &[Json], statements: &Json, view: &View<'_>, world: &mut World) -> Outcome {
    after(hook, items, statements, view, world).0
}

/// Runs a packet through one rule at a hook, and what it is afterwards.
#[track_caller]
fn after<'a>(
    hook: &str,
    items: &[Json],
    statements: &Json,
    view: &View<'a>,
    world: &mut World,
) -> (Outcome, View<'a>) {
    let ruleset = understood(&listing(hook, items, std::slice::from_ref(statements)));
    let mut view = view.clone();
    let outcome = run(&ruleset, Hook::from_word(hook).unwrap(), &mut view, world);
    (outcome, view)
}

/// Whether one condition holds for a packet at the forward hook: `yes`, `no`, or why nobody knows.
#[track_caller]
fn holds_in(items: &[Json], condition: &Json, view: &View<'_>, world: &mut World) -> String {
    world.asked.clear();
    let outcome = does("forward", items, &json!([condition, { "drop": null }]), view, world);
    match world.asked.first() {
        Some(why) => why.clone(),
        None if outcome.is_by_policy() => "no".to_owned(),
        None => "yes".to_owned(),
    }
}

#[track_caller]
fn holds(condition: &Json, view: &View<'_>) -> String {
    holds_in(&[], condition, view, &mut World::default())
}

/// A condition `left op right`.
fn that(left: &Json, op: &str, right: &Json) -> Json {
    json!({ "match": { "op": op, "left": left, "right": right } })
}

/// A field of a header.
fn field(protocol: &str, name: &str) -> Json {
    json!({ "payload": { "protocol": protocol, "field": name } })
}

fn meta(key: &str) -> Json {
    json!({ "meta": { "key": key } })
}

#[track_caller]
fn check(view: &View<'_>, yes: &[Json], no: &[Json]) {
    for condition in yes {
        assert_eq!(holds(condition, view), "yes", "{condition}");
    }
    for condition in no {
        assert_eq!(holds(condition, view), "no", "{condition}");
    }
}

#[test]
fn a_chain_whose_devices_are_not_listed_may_hang_at_any() {
    let listing = json!({ "nftables": [
        { "table": { "family": "netdev", "name": "t", "handle": 1 } },
        { "chain": { "family": "netdev", "table": "t", "name": "f", "handle": 1, "type": "filter",
                     "hook": "ingress", "prio": 0, "policy": "drop" } },
    ] });
    let mut ruleset = understood(&listing);
    let view = crate::testing::syn();
    for (follow, verdict) in [(true, crate::Verdict::Drop), (false, crate::Verdict::Accept)] {
        let mut world = World { follow, ..World::default() };
        let entries = ruleset.hooks(Layer::Netdev, Hook::Ingress, Some("eth0"));
        assert!(entries[0].is_device_unknown);
        let outcome = ruleset.run(&entries[0], &mut view.clone(), &mut world);
        assert_eq!((outcome.verdict, outcome.assumptions.len()), (verdict, 1));
    }
    let base = ruleset.tables[0].chains.get_mut("f").unwrap().base.as_mut().unwrap();
    base.devices = vec!["wlan*".to_owned()];
    assert!(ruleset.hooks(Layer::Netdev, Hook::Ingress, Some("eth0")).is_empty());
    let entries = ruleset.hooks(Layer::Netdev, Hook::Ingress, Some("wlan1"));
    assert!(!entries[0].is_device_unknown);
    assert_eq!(ruleset.hooks(Layer::Ip4, Hook::Ingress, Some("wlan1")).len(), 0);
}
