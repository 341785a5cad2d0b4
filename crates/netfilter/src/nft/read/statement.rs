//! Reads statements.

use serde_json::{Map, Value as Json};

use super::{Place, Reader, number, rest, single, text, words};
use crate::{
    Counters, NatKind, Step,
    nft::{
        expression::{Comparison, Expression, Relation},
        statement::{Nat, Statement, Verdict},
        types::{Kind, Type},
    },
};

impl<'j> Reader<'j> {
    /// One statement of a rule.
    pub(super) fn step(&mut self, json: &'j Json) -> Step {
        if let Some(verdict) = verdict(json) {
            return Step::Statement(Statement::Verdict(verdict));
        }
        if let Json::String(text) = json {
            return Step::Statement(Statement::Text(text.clone()));
        }
        if let Some((key, body)) = single(json) {
            let read = self.at(Place::Key(key), |reader| reader.known(key, body));
            if let Some(step) = read {
                return step;
            }
        }
        self.not_understood("a statement that is known", json);
        Step::Statement(Statement::NotUnderstood(json.clone()))
    }

    fn known(&mut self, key: &'j str, body: &'j Json) -> Option<Step> {
        if key == "match" {
            return self.relation(body).map(Step::Relation);
        }
        self.statement(key, body).map(Step::Statement)
    }

    fn relation(&mut self, body: &'j Json) -> Option<Relation> {
        let (left, right) = (body.get("left")?, body.get("right")?);
        let comparison = Comparison::from_sign(body.get("op")?.as_str()?)?;
        let left = self.at(Place::Key("left"), |reader| reader.expression(left, None));
        let value_type = left.value_type();
        let right = self.at(Place::Key("right"), |reader| reader.expression(right, value_type.as_ref()));
        Some(Relation { left, comparison, right })
    }

    fn statement(&mut self, key: &str, body: &'j Json) -> Option<Statement> {
        // An object by its name, or by a map that gives the name.
        let is_reference = body.is_string() || single(body).is_some_and(|(key, _)| key == "map");
        let objects = [
            "counter",
            "quota",
            "limit",
            "ct helper",
            "ct timeout",
            "ct expectation",
            "secmark",
            "synproxy",
            "tunnel",
        ];
        if is_reference && objects.contains(&key) {
            let name = self.expression(body, Some(&Type::of(Kind::Text)));
            return Some(Statement::Object(key.to_owned(), name));
        }
        let empty = Map::new();
        let map = match body {
            Json::Object(map) => Some(map),
            Json::Null => Some(&empty),
            _ => None,
        };
        Some(match key {
            "vmap" => {
                let (key, data) = (body.get("key")?, body.get("data")?);
                let key = self.at(Place::Key("key"), |reader| reader.expression(key, None));
                let data = self.at(Place::Key("data"), |reader| reader.map_data(data, &key, None));
                Statement::VerdictMap { key, data }
            }
            "counter" => Statement::Counter(counter(map?)),
            "mangle" => {
                let (key, value) = (body.get("key")?, body.get("value")?);
                let key = self.at(Place::Key("key"), |reader| reader.expression(key, None));
                let value_type = key.value_type();
                let value =
                    self.at(Place::Key("value"), |reader| reader.expression(value, value_type.as_ref()));
                Statement::Mangle { key, value }
            }
            "snat" => Statement::Nat(self.nat(NatKind::Snat, body)?),
            "dnat" => Statement::Nat(self.nat(NatKind::Dnat, body)?),
            "masquerade" => Statement::Nat(self.nat(NatKind::Masquerade, body)?),
            "redirect" => Statement::Nat(self.nat(NatKind::Redirect, body)?),
            "reject" => self.reject(body)?,
            "limit" => Statement::Limit(map?.clone()),
            "quota" => Statement::Quota(map?.clone()),
            "ct count" => {
                let is_inverted = body.get("inv").and_then(Json::as_bool).unwrap_or(false);
                Statement::CtCount(number(map?, "val")?, is_inverted)
            }
            "set" => self.set_update(body, "set")?,
            "map" => self.set_update(body, "map")?,
            "meter" => {
                let (name, inner) = single(body.get("stmt")?)?;
                let statement = self.at(Place::Key("stmt"), |reader| reader.statement(name, inner));
                Statement::Meter { json: map?.clone(), statement: Box::new(statement?) }
            }
            "notrack" => Statement::Notrack,
            "log" => Statement::Log(map?.clone()),
            "queue" => {
                let numbers = Type::integer(16);
                let number = self.part_of(body, "num", Some(&numbers));
                Statement::Queue { number, flags: words(body.get("flags"))? }
            }
            "tproxy" => Statement::Tproxy {
                family: text(map?, "family").map(str::to_owned),
                address: self.part_of(body, "addr", Some(&Type::of(Kind::Address))),
                port: self.part_of(body, "port", Some(&Type::of(Kind::Service))),
            },
            "synproxy" => Statement::Synproxy(map?.clone()),
            "dup" => Statement::Dup {
                to: self.part_of(body, "addr", None),
                device: self.part_of(body, "dev", Some(&Type::of(Kind::Ifindex))),
            },
            "fwd" => {
                let hop = self.part_of(body, "addr", Some(&Type::of(Kind::Address)));
                let family = text(map?, "family").map(str::to_owned);
                Statement::Forward {
                    device: self.part_of(body, "dev", Some(&Type::of(Kind::Ifindex)))?,
                    hop: family.zip(hop),
                }
            }
            "flow" if text(map?, "op") == Some("add") => {
                Statement::Flow(text(map?, "flowtable")?.trim_start_matches('@').to_owned())
            }
            "reset" => Statement::Reset(self.expression(body, None)),
            "last" => Statement::Last(body.clone()),
            "xt" => match map.filter(|it| !it.is_empty()) {
                Some(map) => Statement::Xt {
                    kind: text(map, "type").unwrap_or("match").to_owned(),
                    name: text(map, "name")?.to_owned(),
                },
                None => Statement::Xt { kind: String::new(), name: String::new() },
            },
            _ => return None,
        })
    }

    /// The expression at a key, where there is one.
    fn part_of(&mut self, body: &'j Json, key: &'j str, expected: Option<&Type>) -> Option<Expression> {
        let inner = body.get(key)?;
        Some(self.at(Place::Key(key), |reader| reader.expression(inner, expected)))
    }

    fn nat(&mut self, kind: NatKind, body: &'j Json) -> Option<Nat> {
        if let Json::Object(map) = body
            && !rest(map, &["family", "addr", "port", "flags", "type_flags"]).is_empty()
        {
            return None;
        }
        Some(Nat {
            kind,
            family: body.get("family").and_then(Json::as_str).map(str::to_owned),
            address: self.part_of(body, "addr", Some(&Type::of(Kind::Address))),
            port: self.part_of(body, "port", Some(&Type::of(Kind::Service))),
            flags: words(body.get("flags"))?,
            type_flags: words(body.get("type_flags"))?,
        })
    }

    fn reject(&mut self, body: &'j Json) -> Option<Statement> {
        let kind = body.get("type").and_then(Json::as_str).map(str::to_owned);
        let code = match kind.as_deref() {
            Some("icmp") => Some(Kind::IcmpCode),
            Some("icmpv6") => Some(Kind::Icmp6Code),
            Some("icmpx") => Some(Kind::IcmpxCode),
            Some("tcp reset") | None => None,
            Some(_) => return None,
        };
        let code = code.and_then(|code| self.part_of(body, "expr", Some(&Type::of(code))));
        Some(Statement::Reject { kind, code })
    }

    /// `add @SET { ELEMENT STATEMENTS }`.
    fn set_update(&mut self, body: &'j Json, word: &str) -> Option<Statement> {
        let operation = body.get("op")?.as_str()?.to_owned();
        let set = body.get(word)?.as_str()?.trim_start_matches('@').to_owned();
        let (element, timeout) = match single(body.get("elem")?) {
            Some(("elem", inner)) if inner.get("val").is_some() => {
                (inner.get("val")?, inner.get("timeout").and_then(Json::as_u64))
            }
            _ => (body.get("elem")?, None),
        };
        let element = self.at(Place::Key("elem"), |reader| reader.expression(element, None));
        let data = self.part_of(body, "data", None);
        let mut statements = Vec::new();
        let stateful = match body.get("stmt") {
            Some(Json::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        for statement in stateful {
            let (name, inner) = single(statement)?;
            statements.push(self.at(Place::Key("stmt"), |reader| reader.statement(name, inner))?);
        }
        Some(Statement::SetUpdate { operation, element, data, set, statements, timeout })
    }
}

fn counter(map: &Map<String, Json>) -> Option<Counters> {
    Some(Counters { packets: number(map, "packets")?, bytes: number(map, "bytes")? })
}

/// A verdict, where it is one.
pub(super) fn verdict(json: &Json) -> Option<Verdict> {
    let (word, body) = single(json)?;
    let target = || text(body.as_object()?, "target").map(str::to_owned);
    Some(match word {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "break" => Verdict::Break,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        // As a statement it has options of its own.
        "queue" if body.is_null() => Verdict::Queue,
        _ => return None,
    })
}
