//! Whole listings, also broken ones.

use serde_json::{Value as Json, json};

use super::{does, field, listing, meta, remarks, that, understood};
use crate::{
    Family, Hook, Kind, Policy, Source, Verdict, Weight, nft,
    testing::{World, syn},
};

#[test]
fn all_that_a_table_holds_is_kept() {
    let listing = json!({ "nftables": [
        { "metainfo": { "version": "1.1.1", "release_name": "x", "json_schema_version": 1 } },
        { "table": { "family": "inet", "name": "t", "handle": 4, "flags": ["dormant"], "comment": "c" } },
        { "counter": { "family": "inet", "name": "seen", "table": "t", "handle": 1, "packets": 3, "bytes": 4 } },
        { "quota": { "family": "inet", "name": "q", "table": "t", "handle": 2, "bytes": 1000, "used": 0, "inv": false } },
        { "limit": { "family": "inet", "name": "l", "table": "t", "handle": 3, "rate": 5, "per": "second", "burst": 5 } },
        { "flowtable": { "family": "inet", "name": "ft", "table": "t", "handle": 5, "hook": "ingress", "prio": 0,
                         "dev": ["eth0", "eth1"] } },
        { "map": { "family": "inet", "name": "m", "table": "t", "type": "ipv4_addr", "handle": 6, "map": "mark",
                   "flags": "interval", "elem": [[{ "range": ["10.0.0.1", "10.0.0.9"] }, 7]] } },
        { "set": { "family": "inet", "name": "s", "table": "t", "type": { "typeof": { "payload": { "protocol": "ip", "field": "saddr" } } },
                   "handle": 7, "size": 128, "policy": "memory", "stmt": [{ "counter": null }] } },
        { "chain": { "family": "inet", "table": "t", "name": "f", "handle": 8, "type": "filter", "hook": "forward",
                     "prio": -5, "policy": "drop", "comment": "chain" } },
        { "chain": { "family": "inet", "table": "t", "name": "i", "handle": 9, "type": "filter", "hook": "ingress",
                     "prio": 0, "policy": "accept", "dev": "eth0" } },
    ] });
    let ruleset = understood(&listing);
    let table = &ruleset.tables[0];
    assert!(table.dormant && table.family == Family::Inet && table.handle == Some(4));
    assert_eq!(table.comment.as_deref(), Some("c"));
    assert_eq!((table.sets.len(), table.objects.len(), table.flowtables.len()), (2, 3, 1));
    let base = table.chains.get("f").unwrap().base.clone().unwrap();
    assert_eq!(
        (base.kind, base.hook, base.priority, base.policy),
        (Kind::Filter, Hook::Forward, -5, Policy::Drop)
    );
    assert_eq!(table.chains.get("i").unwrap().base.as_ref().unwrap().devices, ["eth0"]);
    assert!(ruleset.hooks(crate::Layer::Ip4, Hook::Forward, None).is_empty(), "the table is switched off");
}

#[test]
fn what_is_not_understood_is_asked_for_and_named() {
    let odd = json!({ "match": { "op": "==", "left": { "crystal": "ball" }, "right": 1 } });
    let strange = json!({ "teleport": { "to": "mars" } });
    let listing =
        listing("forward", &[], &[json!([odd, { "drop": null }]), json!([strange, { "drop": null }])]);
    let remarks = remarks(&listing);
    assert_eq!(remarks.len(), 2);
    assert!(remarks.iter().all(|it| it.weight == Weight::NotUnderstood && it.source == Source::Nft));
    assert_eq!(remarks[0].path, "nftables[3].rule.expr[0].match.left.crystal");
    let rule = remarks[1].rule.as_ref().unwrap();
    assert_eq!((rule.table.as_str(), rule.chain.as_str(), rule.position), ("t", "f", 2));
    let (tables, _) = nft::parse(&listing.to_string());
    let ruleset = crate::Ruleset { tables, ..crate::Ruleset::default() };
    for (follow, verdict) in [(true, Verdict::Drop), (false, Verdict::Accept)] {
        let mut world = World { follow, ..World::default() };
        let outcome = crate::testing::run(&ruleset, Hook::Forward, &mut syn(), &mut world);
        assert_eq!(outcome.verdict, verdict);
        assert!(!outcome.is_certain());
    }
}

#[test]
fn an_unknown_key_beside_known_ones_is_not_passed_over() {
    let mut odd = that(&meta("mark"), "==", &json!(1));
    odd["match"]["left"]["meta"]["twist"] = json!(true);
    let remarks = remarks(&listing("forward", &[], &[json!([odd, { "drop": null }])]));
    assert_eq!(remarks.len(), 1);
}

#[test]
fn text_that_is_cut_or_no_json_is_lost_as_a_whole() {
    let whole = listing("forward", &[], &[json!([{ "drop": null }])]).to_string();
    for end in (0..whole.len()).step_by(7) {
        let (tables, remarks) = nft::parse(&whole[..end]);
        assert!(tables.is_empty());
        assert_eq!((remarks.len(), remarks[0].weight), (1, Weight::Lost), "{end}");
    }
    let (_, remarks) = nft::parse("{ \"nftables\": 7 }");
    assert_eq!((remarks.len(), remarks[0].weight), (1, Weight::Lost));
    let (_, remarks) = nft::parse("{\"nftables\": [\n  {\"table\": 5}\n]}");
    assert_eq!((remarks.len(), remarks[0].weight), (1, Weight::Lost));
}

#[test]
fn items_of_tables_that_are_not_listed_are_lost() {
    let remarks = remarks(&json!({ "nftables": [
        { "rule": { "family": "inet", "table": "gone", "chain": "f", "handle": 1, "expr": [] } },
        { "table": { "family": "bluetooth", "name": "t", "handle": 1 } },
        { "wormhole": { "family": "inet", "name": "t", "table": "t" } },
    ] }));
    assert_eq!(remarks.len(), 3);
    assert!(remarks.iter().all(|it| it.weight == Weight::Lost));
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let (_, remarks) = nft::parse(&deep);
    assert_eq!(remarks.len(), 1);
    let mut expression = json!(1);
    for _ in 0..40 {
        expression = json!({ "|": [expression, 1] });
    }
    let listing = listing("forward", &[], &[json!([that(&meta("mark"), "==", &expression)])]);
    // Deeper than a kernel's registers go, but harmless.
    let (tables, _) = nft::parse(&listing.to_string());
    assert_eq!(tables.len(), 1);
}

#[test]
fn large_sets_are_read_and_asked_quickly() {
    let elements: Vec<Json> = (0..100_000u32)
        .map(|it| json!(std::net::Ipv4Addr::from_bits(0x0a00_0000 + it * 2).to_string()))
        .collect();
    let set = json!({ "set": { "family": "inet", "name": "s", "table": "t", "type": "ipv4_addr", "handle": 5,
                               "elem": elements } });
    let statements = json!([that(&field("ip", "saddr"), "==", &json!("@s")), { "drop": null }]);
    let began = std::time::Instant::now();
    let outcome = does("forward", &[set], &statements, &syn(), &mut World::default());
    assert!(outcome.is_by_policy(), "10.0.0.1 is odd");
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
}
