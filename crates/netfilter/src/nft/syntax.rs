//! Writes rules as `nft list ruleset` does.

use serde_json::{Map, Value as Json};

use super::{
    elements::{Data, Elements},
    expression::{Comparison, Constant, Datum, Expression, Operator, Relation, Scalar},
    statement::{Nat, Statement, Verdict},
    types::{Kind, Type},
};
use crate::{Direction, NatKind, Rule, Step, put};

/// A rule in the words of nft, without its plain counters; one that does nothing but count is `counter`.
pub(crate) fn rule(rule: &Rule) -> String {
    let mut out = String::new();
    for step in &rule.steps {
        let text = match step {
            Step::Relation(it) => relation(it),
            Step::Statement(Statement::Counter(_)) | Step::Match(_) | Step::Target(_) => continue,
            Step::Statement(it) => statement(it),
        };
        if !out.is_empty() && !text.is_empty() {
            out.push(' ');
        }
        out.push_str(&text);
    }
    if out.is_empty() {
        out.push_str("counter");
    }
    if let Some(comment) = &rule.comment {
        put!(out, " comment \"{comment}\"");
    }
    out
}

fn relation(it: &Relation) -> String {
    // Flags under a mask have a way of writing of their own.
    if let (Expression::Binary(Operator::And, operands), Comparison::Equal | Comparison::Unequal) =
        (&it.left, it.comparison)
        && let [flags, mask] = operands.as_slice()
        && flags.value_type().and_then(|it| it.kind()) == Some(Kind::TcpFlag)
    {
        let not = if it.comparison == Comparison::Unequal { "!= " } else { "" };
        return format!("{} {not}{} / {}", expression(flags), expression(&it.right), expression(mask));
    }
    let is_flags = matches!(
        &it.right,
        Expression::Constant(constant)
            if constant.value_type.is_bitmask() && constant.value_type.kind() != Some(Kind::Bitmask)
    );
    let shows_equal = is_flags || matches!(it.left, Expression::Binary(..));
    // A lookup that only has to succeed.
    if let (Expression::Fib { .. }, Expression::Constant(Constant { printed: Scalar::Bool(is_there), .. })) =
        (&it.left, &it.right)
    {
        let word = if *is_there { "exists" } else { "missing" };
        return format!("{} {word}", expression(&it.left));
    }
    if let (Expression::Option(kind, json), Expression::Constant(Constant { printed: Scalar::Bool(_), .. })) =
        (&it.left, &it.right)
        && let Some(base) = json.get("base")
    {
        return format!("{kind} {base} {}", expression(&it.right));
    }
    let sign = match it.comparison {
        Comparison::Implicit => " ".to_owned(),
        Comparison::Equal if !shows_equal => " ".to_owned(),
        other => format!(" {} ", other.sign()),
    };
    format!("{}{sign}{}", expression(&it.left), expression(&it.right))
}

/// An expression.
pub(crate) fn expression(it: &Expression) -> String {
    match it {
        Expression::Constant(it) => constant(it),
        Expression::Meta(key) => meta(key),
        Expression::Field(field) if field.protocol == "arp" => {
            // `arp saddr ip` is the word of JSON too.
            format!("arp {}", field.name)
        }
        Expression::Field(field) => format!("{} {}", field.protocol, field.name),
        Expression::Raw { base, offset, bits } => format!("@{},{offset},{bits}", base.word()),
        Expression::Inner(tunnel, protocol, field) => format!("{tunnel} {protocol} {field}"),
        Expression::Ct { key, direction } => match direction {
            Some(Direction::Original) => format!("ct original {key}"),
            Some(Direction::Reply) => format!("ct reply {key}"),
            None => format!("ct {key}"),
        },
        Expression::Fib { result, flags } => format!("fib {} {result}", flags.join(" . ")),
        Expression::Numgen { random, modulus, offset } => {
            let mode = if *random { "random" } else { "inc" };
            let offset = if *offset > 0 { format!(" offset {offset}") } else { String::new() };
            format!("numgen {mode} mod {modulus}{offset}")
        }
        Expression::Hash { of, modulus, seed, offset } => {
            let mut out = match of {
                Some(of) => format!("jhash {} mod {modulus}", expression(of)),
                None => format!("symhash mod {modulus}"),
            };
            if let Some(seed) = seed {
                put!(out, " seed {seed:#x}");
            }
            if let Some(offset) = offset {
                put!(out, " offset {offset}");
            }
            out
        }
        Expression::Rt(key, family) => match family {
            Some(family) => format!("rt {family} {key}"),
            None => format!("rt {key}"),
        },
        Expression::Socket(key) => format!("socket {key}"),
        Expression::Osf(key, ttl) => {
            let ttl = ttl.as_ref().map_or_else(String::new, |it| format!(" ttl {it}"));
            format!("osf{ttl} {key}")
        }
        Expression::Ipsec { key, family, direction, number } => {
            let family = family.as_ref().map_or_else(String::new, |it| format!(" {it}"));
            let number = if *number > 0 { format!(" spnum {number}") } else { String::new() };
            format!("ipsec {direction}{number}{family} {key}")
        }
        Expression::Exthdr(name, None) => format!("exthdr {name}"),
        Expression::Exthdr(name, Some(field)) => format!("{name} {field}"),
        Expression::TcpOption(name, field) => named("tcp option", name, field.as_deref()),
        Expression::Option(kind, json) => {
            let text = |key: &str| json.get(key).and_then(Json::as_str);
            if let Some(name) = text("name") {
                return named(kind, name, text("field"));
            }
            let number = |key: &str| json.get(key).and_then(Json::as_u64).unwrap_or(0);
            match (number("base"), number("offset"), number("len")) {
                (base, 0, 0) => format!("{kind} {base}"),
                (base, offset, bits) => format!("{kind} @{base},{offset},{bits}"),
            }
        }
        Expression::TunnelKey(key) => format!("tunnel {key}"),
        Expression::Binary(operator, operands) => {
            let parts: Vec<String> = operands
                .iter()
                .map(|it| match it {
                    // A comparison of bits binds loosest, shifts tightest.
                    Expression::Binary(inner, _) if precedence(*inner) < precedence(*operator) => {
                        format!("({})", expression(it))
                    }
                    _ => expression(it),
                })
                .collect();
            parts.join(&format!(" {} ", operator.sign()))
        }
        Expression::Prefix(address, length) => format!("{}/{length}", expression(address)),
        Expression::Range(low, high) => format!("{}-{}", expression(low), expression(high)),
        Expression::List(all) => all.iter().map(expression).collect::<Vec<_>>().join(","),
        Expression::Concat(parts) => parts.iter().map(expression).collect::<Vec<_>>().join(" . "),
        Expression::Set(elements) => set(elements),
        Expression::Reference(name) => format!("@{name}"),
        Expression::Map { key, data } => format!("{} map {}", expression(key), expression(data)),
        Expression::Everything => "*".to_owned(),
        Expression::NotUnderstood(json) => json.to_string(),
    }
}

/// How tightly an operator binds (`expr_binop_precedence`, src/expression.c).
fn precedence(operator: Operator) -> u8 {
    match operator {
        Operator::Or => 1,
        Operator::Xor => 2,
        Operator::And => 3,
        Operator::Left | Operator::Right => 4,
    }
}

fn named(kind: &str, name: &str, field: Option<&str>) -> String {
    match field {
        Some(field) => format!("{kind} {name} {field}"),
        None => format!("{kind} {name}"),
    }
}

/// Keys of `meta` that are written without the word.
const UNQUALIFIED: [&str; 6] = ["iif", "iifname", "iifgroup", "oif", "oifname", "oifgroup"];

fn meta(key: &str) -> String {
    if UNQUALIFIED.contains(&key) { key.to_owned() } else { format!("meta {key}") }
}

fn constant(it: &Constant) -> String {
    let kind = it.value_type.kind();
    match (&it.printed, &it.datum) {
        (Scalar::Bool(true), _) => "exists".to_owned(),
        (Scalar::Bool(false), _) => "missing".to_owned(),
        (Scalar::Text(text), Datum::Text(_)) => format!("\"{text}\""),
        (Scalar::Text(text), Datum::Number(_)) if kind == Some(Kind::Devgroup) => format!("\"{text}\""),
        (Scalar::Text(text), Datum::Number(_)) => text.clone(),
        (Scalar::Number(bit), _) if kind == Some(Kind::CtLabel) => bit.to_string(),
        (Scalar::Number(seconds), _) if kind == Some(Kind::Time) => duration(*seconds),
        (Scalar::Number(_), Datum::Number(number)) => match (kind, &it.value_type) {
            (Some(Kind::Mark | Kind::Realm | Kind::CtState | Kind::CtStatus), _) => format!("{number:#010x}"),
            (Some(Kind::TcpFlag | Kind::Hexadecimal | Kind::Bitmask | Kind::CtEvent), _) => {
                format!("{number:#x}")
            }
            (_, Type::One(Kind::Dscp, _)) => format!("{number:#04x}"),
            _ => number.to_string(),
        },
        (Scalar::Number(number), Datum::Text(_)) => number.to_string(),
    }
}

/// Seconds as nft writes spans of time: `1d2h3m4s`.
fn duration(seconds: u64) -> String {
    let mut out = String::new();
    for (unit, letter) in [(86400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        let count = if unit == 86400 { seconds / unit } else { seconds % (unit * longer(unit)) / unit };
        if count > 0 {
            put!(out, "{count}{letter}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// How many of a unit make the next one.
fn longer(unit: u64) -> u64 {
    if unit == 3600 { 24 } else { 60 }
}

fn set(elements: &Elements) -> String {
    let all: Vec<String> = elements
        .iter()
        .map(|element| {
            let mut text = expression(&element.key);
            if let Some(timeout) = element.timeout {
                put!(text, " timeout {}", duration(timeout));
            }
            if let Some(comment) = &element.comment {
                put!(text, " comment \"{comment}\"");
            }
            match &element.data {
                None => text,
                Some(Data::Verdict(it)) => format!("{text} : {}", verdict(it)),
                Some(Data::Value(it)) => format!("{text} : {}", expression(it)),
            }
        })
        .collect();
    if all.is_empty() { "{ }".to_owned() } else { format!("{{ {} }}", all.join(", ")) }
}

fn verdict(it: &Verdict) -> String {
    match it {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Break => "break".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Queue => "queue".to_owned(),
    }
}

fn statement(it: &Statement) -> String {
    match it {
        Statement::Verdict(it) => verdict(it),
        Statement::VerdictMap { key, data } => format!("{} vmap {}", expression(key), expression(data)),
        Statement::Counter(_) => "counter".to_owned(),
        Statement::Mangle { key, value } => match key {
            // As a key to set, `meta` is always written.
            Expression::Meta(key) => format!("meta {key} set {}", expression(value)),
            _ => format!("{} set {}", expression(key), expression(value)),
        },
        Statement::Nat(it) => nat(it),
        Statement::Reject { kind, code } => match (kind, code) {
            (Some(kind), Some(code)) => match expression(code).as_str() {
                "port-unreachable" => "reject".to_owned(),
                code => format!("reject with {kind} {code}"),
            },
            (Some(kind), None) => format!("reject with {kind}"),
            (None, _) => "reject".to_owned(),
        },
        Statement::Limit(map) => format!("limit {}", rate(map)),
        Statement::Quota(map) => quota(map),
        Statement::CtCount(most, is_inverted) => {
            format!("ct count {}{most}", if *is_inverted { "over " } else { "" })
        }
        Statement::SetUpdate { operation, element, data, set, statements, timeout } => {
            let mut out = format!("{operation} @{set} {{ {}", expression(element));
            if let Some(timeout) = timeout {
                put!(out, " timeout {}", duration(*timeout));
            }
            for it in statements {
                put!(out, " {}", statement(it));
            }
            if let Some(data) = data {
                put!(out, " : {}", expression(data));
            }
            out.push_str(" }");
            out
        }
        Statement::Meter { json, statement: inner } => {
            let text = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or("");
            format!("meter {} {{ {} }}", text("name"), statement(inner))
        }
        Statement::Notrack => "notrack".to_owned(),
        Statement::Log(map) => log(map),
        Statement::Queue { number, flags } => {
            let mut out = "queue".to_owned();
            if !flags.list.is_empty() {
                put!(out, " flags {}", flags.list.join(","));
            }
            if let Some(number) = number {
                put!(out, " to {}", expression(number));
            }
            out
        }
        Statement::Tproxy { family, address, port } => {
            let mut out = "tproxy".to_owned();
            if let Some(family) = family {
                put!(out, " {family}");
            }
            if let (Some(it), None) = (address, port) {
                put!(out, " to {}", host(it));
            } else {
                put!(out, " to {}", socket(address.as_ref(), port.as_ref()));
            }
            out
        }
        Statement::Synproxy(map) => plain("synproxy", map),
        Statement::Dup { to, device } => {
            let mut out = "dup".to_owned();
            if let Some(to) = to {
                put!(out, " to {}", expression(to));
            }
            if let Some(device) = device {
                put!(out, " device {}", expression(device));
            }
            out
        }
        Statement::Forward { device, hop } => match hop {
            Some((family, address)) => {
                format!("fwd {family} to {} device {}", expression(address), expression(device))
            }
            None => format!("fwd to {}", expression(device)),
        },
        Statement::Flow(flowtable) => format!("flow add @{flowtable}"),
        Statement::Reset(option) => format!("reset {}", expression(option)),
        Statement::Last(_) => "last".to_owned(),
        Statement::Object(kind, name) => object(kind, name),
        Statement::Xt { name, .. } => format!("xt {name}"),
        Statement::Text(text) => text.clone(),
        Statement::NotUnderstood(json) => json.to_string(),
    }
}

fn object(kind: &str, name: &Expression) -> String {
    let word = match kind {
        "counter" | "quota" | "limit" | "synproxy" | "tunnel" => format!("{kind} name"),
        "secmark" => "meta secmark set".to_owned(),
        _ => format!("{kind} set"),
    };
    format!("{word} {}", expression(name))
}

fn nat(it: &Nat) -> String {
    let mut out = match it.kind {
        NatKind::Snat => "snat",
        NatKind::Dnat | NatKind::Netmap => "dnat",
        NatKind::Masquerade => "masquerade",
        NatKind::Redirect => "redirect",
    }
    .to_owned();
    if let Some(family) = &it.family {
        put!(out, " {family}");
    }
    if !it.type_flags.list.is_empty() {
        put!(out, " {}", it.type_flags.list.join(" "));
    }
    if it.address.is_some() || it.port.is_some() {
        put!(out, " to {}", socket(it.address.as_ref(), it.port.as_ref()));
    }
    let flags: Vec<&str> = it.flags.list.iter().map(String::as_str).filter(|it| *it != "netmap").collect();
    if !flags.is_empty() {
        put!(out, " {}", flags.join(","));
    }
    out
}

/// An address, in brackets if it is one of IPv6.
fn host(it: &Expression) -> String {
    match it.value_type().and_then(|it| it.kind()) {
        Some(Kind::Ipv6) => format!("[{}]", expression(it)),
        _ => expression(it),
    }
}

/// `ADDRESS:PORT`, with brackets around addresses of IPv6.
fn socket(address: Option<&Expression>, port: Option<&Expression>) -> String {
    let address = match (address, port) {
        (Some(Expression::Range(low, high)), Some(_)) => format!("{}-{}", host(low), host(high)),
        (Some(it), Some(_)) => host(it),
        (Some(it), None) => expression(it),
        (None, _) => String::new(),
    };
    match port {
        Some(port) => format!("{address}:{}", expression(port)),
        None => address,
    }
}

fn rate(map: &Map<String, Json>) -> String {
    let number = |key: &str| map.get(key).and_then(Json::as_u64);
    let text = |key: &str| map.get(key).and_then(Json::as_str);
    let over = if map.get("inv").and_then(Json::as_bool) == Some(true) { "over " } else { "" };
    let unit = text("rate_unit").map_or_else(String::new, |it| format!(" {it}"));
    let per = text("per").unwrap_or("second");
    let mut out = format!("rate {over}{}{unit}/{per}", number("rate").unwrap_or(0));
    match (number("burst"), text("burst_unit")) {
        (Some(burst), Some(unit)) if burst > 0 => put!(out, " burst {burst} {unit}"),
        (Some(burst), None) if burst > 0 && burst != 5 && text("rate_unit").is_none() => {
            put!(out, " burst {burst} packets");
        }
        _ => {}
    }
    out
}

fn quota(map: &Map<String, Json>) -> String {
    let over = if map.get("inv").and_then(Json::as_bool) == Some(true) { "over " } else { "" };
    let number = map.get("val").and_then(Json::as_u64).unwrap_or(0);
    let unit = map.get("val_unit").and_then(Json::as_str).unwrap_or("bytes");
    format!("quota {over}{number} {unit}")
}

fn log(map: &Map<String, Json>) -> String {
    let mut out = "log".to_owned();
    for (key, word) in [
        ("prefix", "prefix"),
        ("level", "level"),
        ("group", "group"),
        ("snaplen", "snaplen"),
        ("queue-threshold", "queue-threshold"),
    ] {
        match map.get(key) {
            Some(Json::String(text)) if key == "prefix" => put!(out, " {word} \"{text}\""),
            Some(Json::String(text)) => put!(out, " {word} {text}"),
            Some(other) => put!(out, " {word} {other}"),
            None => {}
        }
    }
    match map.get("flags") {
        Some(Json::String(flag)) => put!(out, " flags {flag}"),
        Some(Json::Array(flags)) => {
            let flags: Vec<&str> = flags.iter().filter_map(Json::as_str).collect();
            let flags =
                flags.join(" flags ").replace("tcp sequence flags tcp options", "tcp sequence,options");
            put!(out, " flags {flags}");
        }
        _ => {}
    }
    out
}

fn plain(word: &str, map: &Map<String, Json>) -> String {
    let mut out = word.to_owned();
    for key in ["mss", "wscale"] {
        if let Some(value) = map.get(key) {
            put!(out, " {key} {value}");
        }
    }
    for flag in map.get("flags").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
        put!(out, " {flag}");
    }
    out
}
