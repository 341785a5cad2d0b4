//! Writes tables as `nft -j list ruleset` does.

use serde_json::{Map, Value as Json, json};

use super::{
    elements::{Data, Element, Elements},
    expression::{Expression, Relation, Scalar},
    set::{KeyType, Set},
    statement::{Nat, Statement, Verdict, Words},
};
use crate::{Chain, Counters, Direction, NatKind, Origin, Policy, Rule, Step, Table};

/// Writes tables of nft as JSON, in the order in which newer versions of nft list them: each table with its
/// chains, objects, sets and flowtables, then its rules. Tables of iptables are left out.
pub fn emit(tables: &[Table]) -> String {
    let mut all = vec![json!({"metainfo": {"json_schema_version": 1}})];
    for table in tables.iter().filter(|it| it.origin == Origin::Nft) {
        emit_table(table, &mut all);
    }
    json!({ "nftables": all }).to_string()
}

fn emit_table(table: &Table, all: &mut Vec<Json>) {
    let mut body = Map::new();
    body.insert("family".to_owned(), table.family.word().into());
    body.insert("name".to_owned(), table.name.clone().into());
    put_option(&mut body, "handle", table.handle);
    let mut flags = table.flags.clone();
    if table.dormant {
        flags.insert(0, "dormant".to_owned());
    }
    if !flags.is_empty() {
        body.insert("flags".to_owned(), flags.into());
    }
    put_option(&mut body, "comment", table.comment.clone());
    all.push(json!({ "table": body }));
    for chain in &table.chains {
        all.push(json!({ "chain": chain_json(table, chain) }));
    }
    for ((kind, name), object) in &table.objects {
        let mut body = head(table, "name", name, object.handle);
        body.extend(object.attributes.clone());
        all.push(one(kind, body.into()));
    }
    let mut sets: Vec<&Set> = table.sets.values().collect();
    sets.sort_by_key(|it| it.handle);
    for set in sets {
        all.push(one(&set.word, set_json(table, set)));
    }
    for (name, flowtable) in &table.flowtables {
        let mut body = head(table, "name", name, flowtable.handle);
        put_words(&mut body, "dev", &flowtable.devices);
        body.extend(flowtable.attributes.clone());
        all.push(json!({ "flowtable": body }));
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            all.push(json!({ "rule": rule_json(table, chain, rule) }));
        }
    }
}

fn head(table: &Table, key: &str, name: &str, handle: Option<u64>) -> Map<String, Json> {
    let mut body = Map::new();
    body.insert("family".to_owned(), table.family.word().into());
    body.insert("table".to_owned(), table.name.clone().into());
    body.insert(key.to_owned(), name.into());
    put_option(&mut body, "handle", handle);
    body
}

fn chain_json(table: &Table, chain: &Chain) -> Map<String, Json> {
    let mut body = head(table, "name", &chain.name, chain.handle);
    put_option(&mut body, "comment", chain.comment.clone());
    let Some(base) = &chain.base else { return body };
    body.insert("type".to_owned(), base.kind.word().into());
    body.insert("hook".to_owned(), base.hook.word().into());
    body.insert("prio".to_owned(), base.priority.into());
    let policy = match base.policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    };
    body.insert("policy".to_owned(), policy.into());
    match base.devices.as_slice() {
        [] => {}
        [device] => {
            body.insert("dev".to_owned(), device.clone().into());
        }
        devices => {
            body.insert("dev".to_owned(), devices.to_vec().into());
        }
    }
    body
}

fn rule_json(table: &Table, chain: &Chain, rule: &Rule) -> Map<String, Json> {
    let mut body = head(table, "chain", &chain.name, rule.handle);
    put_option(&mut body, "comment", rule.comment.clone());
    let mut steps: Vec<Json> = Vec::new();
    for step in &rule.steps {
        match step {
            Step::Relation(it) => steps.push(relation(it)),
            Step::Statement(it) => steps.push(statement(it)),
            // Not in a table of nft.
            Step::Match(_) | Step::Target(_) => {}
        }
    }
    if !steps.is_empty() {
        body.insert("expr".to_owned(), steps.into());
    }
    body
}

fn set_json(table: &Table, set: &Set) -> Json {
    let mut body = head(table, "name", &set.name, set.handle);
    body.insert("type".to_owned(), key_type(&set.key));
    if let Some(data) = &set.data {
        body.insert("map".to_owned(), key_type(data));
    }
    put_words(&mut body, "flags", &set.flags);
    put_option(&mut body, "size", set.size);
    body.extend(set.attributes.clone());
    if !set.elements.is_empty() {
        body.insert("elem".to_owned(), elements(&set.elements));
    }
    body.into()
}

fn key_type(key: &KeyType) -> Json {
    match key {
        KeyType::Words(words) => words_json(words),
        KeyType::Typeof(inner) => json!({ "typeof": expression(inner) }),
    }
}

fn elements(all: &Elements) -> Json {
    all.iter().map(element).collect()
}

fn element(it: &Element) -> Json {
    let mut key = expression(&it.key);
    let is_long =
        it.timeout.is_some() || it.expires.is_some() || it.comment.is_some() || !it.state.is_empty();
    if is_long {
        let mut body = Map::new();
        body.insert("val".to_owned(), key);
        put_option(&mut body, "timeout", it.timeout);
        put_option(&mut body, "expires", it.expires);
        put_option(&mut body, "comment", it.comment.clone());
        body.extend(it.state.iter().cloned());
        key = json!({ "elem": body });
    }
    match &it.data {
        None => key,
        Some(Data::Verdict(it)) => json!([key, verdict(it)]),
        Some(Data::Value(it)) => json!([key, expression(it)]),
    }
}

fn relation(it: &Relation) -> Json {
    let sign = it.comparison.sign();
    json!({ "match": { "op": sign, "left": expression(&it.left), "right": expression(&it.right) } })
}

fn expression(it: &Expression) -> Json {
    match it {
        Expression::Constant(it) => match &it.printed {
            Scalar::Number(number) => (*number).into(),
            Scalar::Text(text) => text.clone().into(),
            Scalar::Bool(value) => (*value).into(),
        },
        Expression::Meta(key) => json!({ "meta": { "key": key } }),
        Expression::Field(field) => {
            json!({ "payload": { "protocol": field.protocol, "field": field.name } })
        }
        Expression::Raw { base, offset, bits } => {
            json!({ "payload": { "base": base.word(), "offset": offset, "len": bits } })
        }
        Expression::Inner(tunnel, protocol, field) => {
            json!({ "payload": { "tunnel": tunnel, "protocol": protocol, "field": field } })
        }
        Expression::Ct { key, direction } => {
            let mut body = Map::new();
            body.insert("key".to_owned(), (*key).into());
            let direction = direction.map(|it| match it {
                Direction::Original => "original",
                Direction::Reply => "reply",
            });
            put_option(&mut body, "dir", direction);
            json!({ "ct": body })
        }
        Expression::Fib { result, flags } => json!({ "fib": { "result": result, "flags": flags } }),
        Expression::Numgen { random, modulus, offset } => {
            let mode = if *random { "random" } else { "inc" };
            json!({ "numgen": { "mode": mode, "mod": modulus, "offset": offset } })
        }
        Expression::Hash { of, modulus, seed, offset } => {
            let mut body = Map::new();
            body.insert("mod".to_owned(), (*modulus).into());
            put_option(&mut body, "seed", *seed);
            put_option(&mut body, "offset", *offset);
            put_option(&mut body, "expr", of.as_deref().map(expression));
            one(if of.is_some() { "jhash" } else { "symhash" }, body.into())
        }
        Expression::Rt(key, family) => keyed("rt", key, "family", family.as_deref()),
        Expression::Socket(key) => json!({ "socket": { "key": key } }),
        Expression::Osf(key, ttl) => keyed("osf", key, "ttl", ttl.as_deref()),
        Expression::Ipsec { key, family, direction, number } => {
            let mut body = Map::new();
            body.insert("key".to_owned(), (*key).into());
            put_option(&mut body, "family", family.clone());
            body.insert("dir".to_owned(), direction.clone().into());
            body.insert("spnum".to_owned(), (*number).into());
            json!({ "ipsec": body })
        }
        Expression::Exthdr(name, field) => named("exthdr", name, field.as_deref()),
        Expression::TcpOption(name, field) => named("tcp option", name, field.as_deref()),
        Expression::Option(kind, body) => one(kind, body.clone()),
        Expression::TunnelKey(key) => json!({ "tunnel": { "key": key } }),
        Expression::Binary(operator, operands) => one(operator.sign(), list(operands)),
        Expression::Prefix(address, length) => {
            json!({ "prefix": { "addr": expression(address), "len": length } })
        }
        Expression::Range(low, high) => json!({ "range": [expression(low), expression(high)] }),
        Expression::List(all) => list(all),
        Expression::Concat(parts) => json!({ "concat": list(parts) }),
        Expression::Set(all) => json!({ "set": elements(all) }),
        Expression::Reference(name) => format!("@{name}").into(),
        Expression::Map { key, data } => {
            json!({ "map": { "key": expression(key), "data": expression(data) } })
        }
        Expression::Everything => "*".into(),
        Expression::NotUnderstood(json) => json.clone(),
    }
}

fn list(all: &[Expression]) -> Json {
    all.iter().map(expression).collect()
}

fn keyed(word: &str, key: &str, option: &str, value: Option<&str>) -> Json {
    let mut body = Map::new();
    body.insert("key".to_owned(), key.into());
    put_option(&mut body, option, value);
    one(word, body.into())
}

fn named(word: &str, name: &str, field: Option<&str>) -> Json {
    let mut body = Map::new();
    body.insert("name".to_owned(), name.into());
    put_option(&mut body, "field", field);
    one(word, body.into())
}

fn verdict(it: &Verdict) -> Json {
    match it {
        Verdict::Accept => json!({ "accept": null }),
        Verdict::Drop => json!({ "drop": null }),
        Verdict::Continue => json!({ "continue": null }),
        Verdict::Break => json!({ "break": null }),
        Verdict::Return => json!({ "return": null }),
        Verdict::Jump(chain) => json!({ "jump": { "target": chain } }),
        Verdict::Goto(chain) => json!({ "goto": { "target": chain } }),
        Verdict::Queue => json!({ "queue": null }),
    }
}

fn statement(it: &Statement) -> Json {
    match it {
        Statement::Verdict(it) => verdict(it),
        Statement::VerdictMap { key, data } => {
            json!({ "vmap": { "key": expression(key), "data": expression(data) } })
        }
        Statement::Counter(Some(Counters { packets, bytes })) => {
            json!({ "counter": { "packets": packets, "bytes": bytes } })
        }
        Statement::Counter(None) => json!({ "counter": null }),
        Statement::Mangle { key, value } => {
            json!({ "mangle": { "key": expression(key), "value": expression(value) } })
        }
        Statement::Nat(it) => nat(it),
        Statement::Reject { kind, code } => {
            let mut body = Map::new();
            put_option(&mut body, "type", kind.clone());
            put_option(&mut body, "expr", code.as_ref().map(expression));
            json!({ "reject": or_null(body) })
        }
        Statement::Limit(map) => json!({ "limit": map }),
        Statement::Quota(map) => json!({ "quota": map }),
        Statement::CtCount(most, is_inverted) => {
            let mut body = Map::new();
            body.insert("val".to_owned(), (*most).into());
            if *is_inverted {
                body.insert("inv".to_owned(), true.into());
            }
            json!({ "ct count": body })
        }
        Statement::SetUpdate { .. } => set_update(it),
        Statement::Meter { json, .. } => json!({ "meter": json }),
        Statement::Notrack => json!({ "notrack": null }),
        Statement::Log(map) => json!({ "log": or_null(map.clone()) }),
        Statement::Queue { number, flags } => {
            let mut body = Map::new();
            put_option(&mut body, "num", number.as_ref().map(expression));
            put_words(&mut body, "flags", flags);
            json!({ "queue": or_null(body) })
        }
        Statement::Tproxy { family, address, port } => {
            let mut body = Map::new();
            put_option(&mut body, "family", family.clone());
            put_option(&mut body, "addr", address.as_ref().map(expression));
            put_option(&mut body, "port", port.as_ref().map(expression));
            json!({ "tproxy": body })
        }
        Statement::Synproxy(map) => json!({ "synproxy": or_null(map.clone()) }),
        Statement::Dup { to, device } => {
            let mut body = Map::new();
            put_option(&mut body, "addr", to.as_ref().map(expression));
            put_option(&mut body, "dev", device.as_ref().map(expression));
            json!({ "dup": or_null(body) })
        }
        Statement::Forward { device, hop } => {
            let mut body = Map::new();
            body.insert("dev".to_owned(), expression(device));
            if let Some((family, address)) = hop {
                body.insert("family".to_owned(), family.clone().into());
                body.insert("addr".to_owned(), expression(address));
            }
            json!({ "fwd": body })
        }
        Statement::Flow(name) => json!({ "flow": { "op": "add", "flowtable": format!("@{name}") } }),
        Statement::Reset(option) => json!({ "reset": expression(option) }),
        Statement::Last(body) => json!({ "last": body }),
        Statement::Object(kind, name) => one(kind, expression(name)),
        Statement::Xt { kind, name } if kind.is_empty() && name.is_empty() => json!({ "xt": null }),
        Statement::Xt { kind, name } => json!({ "xt": { "type": kind, "name": name } }),
        Statement::Text(text) => text.clone().into(),
        Statement::NotUnderstood(json) => json.clone(),
    }
}

fn set_update(it: &Statement) -> Json {
    let Statement::SetUpdate { operation, element, data, set, statements, timeout } = it else {
        return Json::Null;
    };
    let mut body = Map::new();
    body.insert("op".to_owned(), operation.clone().into());
    let element = expression(element);
    let element = match timeout {
        Some(timeout) => json!({ "elem": { "val": element, "timeout": timeout } }),
        None => element,
    };
    body.insert("elem".to_owned(), element);
    put_option(&mut body, "data", data.as_ref().map(expression));
    let word = if data.is_some() { "map" } else { "set" };
    body.insert(word.to_owned(), format!("@{set}").into());
    if !statements.is_empty() {
        body.insert("stmt".to_owned(), statements.iter().map(statement).collect());
    }
    one(word, body.into())
}

fn nat(it: &Nat) -> Json {
    let mut body = Map::new();
    put_option(&mut body, "family", it.family.clone());
    put_option(&mut body, "addr", it.address.as_ref().map(expression));
    put_option(&mut body, "port", it.port.as_ref().map(expression));
    put_words(&mut body, "flags", &it.flags);
    put_words(&mut body, "type_flags", &it.type_flags);
    let word = match it.kind {
        NatKind::Snat => "snat",
        NatKind::Dnat | NatKind::Netmap => "dnat",
        NatKind::Masquerade => "masquerade",
        NatKind::Redirect => "redirect",
    };
    one(word, or_null(body))
}

fn or_null(body: Map<String, Json>) -> Json {
    if body.is_empty() { Json::Null } else { body.into() }
}

fn one(key: &str, value: Json) -> Json {
    let mut body = Map::new();
    body.insert(key.to_owned(), value);
    body.into()
}

fn put_option<T: Into<Json>>(body: &mut Map<String, Json>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        body.insert(key.to_owned(), value.into());
    }
}

fn put_words(body: &mut Map<String, Json>, key: &str, words: &Words) {
    if !words.list.is_empty() {
        body.insert(key.to_owned(), words_json(words));
    }
}

fn words_json(words: &Words) -> Json {
    match words.list.as_slice() {
        [word] if words.is_bare => word.clone().into(),
        list => list.to_vec().into(),
    }
}
