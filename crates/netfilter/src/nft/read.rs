//! Reads `nft -j list ruleset`.

mod expression;
mod statement;

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use self::expression::Values;
use super::{
    set::{Flowtable, KeyType, Object, Set},
    statement::{Statement, Words},
    syntax,
    types::{Kind, Type},
};
use crate::{
    BaseChain, Chain, Family, Hook, Kind as ChainKind, Origin, Policy, Remark, Rule, RuleName, Source, Step,
    Table, Weight, remark::excerpt,
};

/// Reads what `nft -j list ruleset` prints: the tables of nf_tables of every family.
pub fn parse(text: &str) -> (Vec<Table>, Vec<Remark>) {
    let json = serde_json::from_str::<Json>(text);
    let mut reader = Reader::default();
    match &json {
        Ok(json) => reader.ruleset(json),
        Err(error) => reader.remarks.push(Remark {
            source: Source::Nft,
            weight: Weight::Lost,
            line: error.line(),
            column: error.column(),
            path: String::new(),
            expected: "JSON as `nft -j list ruleset` prints it".to_owned(),
            found: excerpt(&error.to_string()),
            rule: None,
        }),
    }
    (reader.tables, reader.remarks)
}

/// A place inside the document.
#[derive(Clone, Copy, Debug)]
enum Place<'j> {
    Key(&'j str),
    Index(usize),
}

#[derive(Debug, Default)]
struct Reader<'j> {
    tables: Vec<Table>,
    by_name: HashMap<(Family, String), usize>,
    remarks: Vec<Remark>,
    path: Vec<Place<'j>>,
    rule: Option<RuleName>,
}

/// The objects of a table that are neither rules nor sets.
const OBJECTS: [&str; 9] = [
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

impl<'j> Reader<'j> {
    fn ruleset(&mut self, json: &'j Json) {
        let Some(all) = json.get("nftables").and_then(Json::as_array) else {
            return self.lost("an object with the list `nftables`", json);
        };
        self.at(Place::Key("nftables"), |reader| {
            for (index, item) in all.iter().enumerate() {
                reader.at(Place::Index(index), |reader| reader.item(item));
            }
        });
    }

    fn item(&mut self, item: &'j Json) {
        let Some((kind, body)) = single(item) else {
            return self.lost("an object with one key", item);
        };
        self.at(Place::Key(kind), |reader| {
            if kind == "metainfo" {
                return;
            }
            let Some(body) = body.as_object() else { return reader.lost("an object", body) };
            let read = match kind {
                "table" => reader.table(body),
                "chain" => reader.chain(body),
                "rule" => reader.read_rule(body),
                "set" | "map" | "meter" => reader.set(kind, body),
                "flowtable" => reader.flowtable(body),
                _ if OBJECTS.contains(&kind) => reader.object(kind, body),
                _ => None,
            };
            if read.is_none() {
                reader.lost("an item of a ruleset that is known, with family, table and name", item);
            }
        });
    }

    fn table(&mut self, body: &'j Map<String, Json>) -> Option<()> {
        let family = Family::from_word(text(body, "family")?)?;
        let name = text(body, "name")?;
        let mut table = Table::new(Origin::Nft, family, name);
        table.handle = number(body, "handle");
        table.comment = text(body, "comment").map(str::to_owned);
        let mut flags = words(body.get("flags"))?.list;
        table.dormant = flags.iter().any(|it| it == "dormant");
        flags.retain(|it| it != "dormant");
        table.flags = flags;
        self.by_name.insert((family, name.to_owned()), self.tables.len());
        self.tables.push(table);
        Some(())
    }

    /// The table that an item belongs to.
    fn table_of(&mut self, body: &Map<String, Json>) -> Option<usize> {
        let family = Family::from_word(text(body, "family")?)?;
        self.by_name.get(&(family, text(body, "table")?.to_owned())).copied()
    }

    fn chain(&mut self, body: &'j Map<String, Json>) -> Option<()> {
        let at = self.table_of(body)?;
        let mut chain = Chain::new(text(body, "name")?, None);
        chain.handle = number(body, "handle");
        chain.comment = text(body, "comment").map(str::to_owned);
        if let Some(hook) = text(body, "hook") {
            let kind = match text(body, "type")? {
                "filter" => ChainKind::Filter,
                "nat" => ChainKind::Nat,
                "route" => ChainKind::Route,
                _ => return None,
            };
            let policy = match text(body, "policy") {
                Some("accept") | None => Policy::Accept,
                Some("drop") => Policy::Drop,
                Some(_) => return None,
            };
            chain.base = Some(BaseChain {
                kind,
                hook: Hook::from_word(hook)?,
                priority: i32::try_from(body.get("prio")?.as_i64()?).ok()?,
                policy,
                devices: words(body.get("dev"))?.list,
                counters: None,
            });
        }
        self.tables[at].chains.insert(chain);
        Some(())
    }

    fn read_rule(&mut self, body: &'j Map<String, Json>) -> Option<()> {
        let at = self.table_of(body)?;
        let chain_name = text(body, "chain")?;
        let position = self.tables[at].chains.get(chain_name)?.rules.len() + 1;
        let table = self.tables[at].name.clone();
        self.rule = Some(RuleName { table, chain: chain_name.to_owned(), position });
        let statements = match body.get("expr") {
            None => &[],
            Some(Json::Array(statements)) => statements.as_slice(),
            Some(other) => {
                self.lost("a list of statements", other);
                &[]
            }
        };
        let mut rule = Rule::new(position, Vec::with_capacity(statements.len()));
        self.at(Place::Key("expr"), |reader| {
            for (index, statement) in statements.iter().enumerate() {
                let step = reader.at(Place::Index(index), |reader| reader.step(statement));
                rule.steps.push(step);
            }
        });
        self.rule = None;
        rule.handle = number(body, "handle");
        rule.comment = text(body, "comment").map(str::to_owned);
        rule.counters = rule.steps.iter().find_map(|step| match step {
            Step::Statement(Statement::Counter(counters)) => *counters,
            _ => None,
        });
        rule.text = syntax::rule(&rule);
        self.tables[at].chains.get_mut(chain_name)?.rules.push(rule);
        Some(())
    }

    fn set(&mut self, word: &str, body: &'j Map<String, Json>) -> Option<()> {
        let at = self.table_of(body)?;
        let name = text(body, "name")?.to_owned();
        let key = self.key_type(body.get("type")?)?;
        let data = match body.get("map") {
            None => None,
            Some(data) => Some(self.key_type(data)?),
        };
        let key_type = type_of_key(&key);
        let value_type = data.as_ref().and_then(type_of_key);
        let elements = match body.get("elem") {
            None => &[],
            Some(Json::Array(elements)) => elements.as_slice(),
            Some(_) => return None,
        };
        let elements = self.at(Place::Key("elem"), |reader| {
            let values = if data.is_some() { Values::Of(value_type.as_ref()) } else { Values::None };
            reader.elements(elements, key_type.as_ref(), values)
        });
        let known = ["family", "table", "name", "type", "handle", "map", "elem", "flags", "size"];
        let attributes = rest(body, &known);
        let set = Set {
            name: name.clone(),
            word: word.to_owned(),
            handle: number(body, "handle"),
            key,
            data,
            elements,
            flags: words(body.get("flags"))?,
            size: number(body, "size"),
            attributes,
        };
        self.tables[at].sets.insert(name, set);
        Some(())
    }

    fn key_type(&mut self, json: &'j Json) -> Option<KeyType> {
        match single(json) {
            Some(("typeof", inner)) => Some(KeyType::Typeof(Box::new(
                self.at(Place::Key("typeof"), |reader| reader.expression(inner, None)),
            ))),
            Some(_) => None,
            None => words(Some(json)).map(KeyType::Words),
        }
    }

    fn flowtable(&mut self, body: &'j Map<String, Json>) -> Option<()> {
        let at = self.table_of(body)?;
        let flowtable = Flowtable {
            handle: number(body, "handle"),
            devices: words(body.get("dev"))?,
            attributes: rest(body, &["family", "table", "name", "handle", "dev"]),
        };
        self.tables[at].flowtables.insert(text(body, "name")?.to_owned(), flowtable);
        Some(())
    }

    fn object(&mut self, kind: &str, body: &'j Map<String, Json>) -> Option<()> {
        let at = self.table_of(body)?;
        let object = Object {
            handle: number(body, "handle"),
            attributes: rest(body, &["family", "table", "name", "handle"]),
        };
        self.tables[at].objects.insert((kind.to_owned(), text(body, "name")?.to_owned()), object);
        Some(())
    }

    /// Does something at a place inside the document.
    fn at<T>(&mut self, place: Place<'j>, what: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(place);
        let done = what(self);
        self.path.pop();
        done
    }

    fn lost(&mut self, expected: &str, found: &Json) {
        self.remark(Weight::Lost, expected, found);
    }

    fn not_understood(&mut self, expected: &str, found: &Json) {
        self.remark(Weight::NotUnderstood, expected, found);
    }

    fn remark(&mut self, weight: Weight, expected: &str, found: &Json) {
        let mut path = String::new();
        for place in &self.path {
            match place {
                Place::Key(key) if path.is_empty() => path.push_str(key),
                Place::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Place::Index(index) => {
                    path.push('[');
                    path.push_str(&index.to_string());
                    path.push(']');
                }
            }
        }
        let (expected, found) = (expected.to_owned(), excerpt(&found.to_string()));
        let rule = self.rule.clone();
        self.remarks.push(Remark {
            source: Source::Nft,
            weight,
            line: 0,
            column: 0,
            path,
            expected,
            found,
            rule,
        });
    }
}

/// The type of a set's keys or values.
fn type_of_key(key: &KeyType) -> Option<Type> {
    match key {
        KeyType::Typeof(expression) => expression.value_type(),
        KeyType::Words(words) => {
            let mut types: Vec<Type> =
                words.list.iter().filter_map(|it| Kind::from_word(it)).map(Type::of).collect();
            if types.len() != words.list.len() {
                return None;
            }
            if types.len() == 1 { types.pop() } else { Some(Type::Concat(types)) }
        }
    }
}

/// The only key of an object, and what it holds.
fn single(json: &Json) -> Option<(&str, &Json)> {
    let map = json.as_object()?;
    let (key, value) = map.iter().next()?;
    (map.len() == 1).then_some((key.as_str(), value))
}

fn text<'j>(body: &'j Map<String, Json>, key: &str) -> Option<&'j str> {
    body.get(key)?.as_str()
}

fn number(body: &Map<String, Json>, key: &str) -> Option<u64> {
    body.get(key)?.as_u64()
}

/// The attributes beside the known ones.
fn rest(body: &Map<String, Json>, known: &[&str]) -> Map<String, Json> {
    let rest = body.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    rest.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A word, a list of words, or nothing.
fn words(json: Option<&Json>) -> Option<Words> {
    match json {
        None => Some(Words::default()),
        Some(Json::String(word)) => Some(Words { list: vec![word.clone()], is_bare: true }),
        Some(Json::Array(all)) => {
            let list = all.iter().map(|it| it.as_str().map(str::to_owned)).collect::<Option<_>>()?;
            Some(Words { list, is_bare: false })
        }
        Some(_) => None,
    }
}
