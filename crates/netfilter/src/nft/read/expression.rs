//! Reads expressions.

use serde_json::{Map, Value as Json};

use super::{Place, Reader, rest, single, text};
use crate::{
    Direction,
    nft::{
        elements::{Data, Element, Elements},
        expression::{Constant, Expression, Operator, Scalar},
        fields::{self, Base, Field},
        types::{Kind, Type},
    },
};

/// What elements are mapped to.
#[derive(Clone, Copy)]
pub(super) enum Values<'t> {
    /// Nothing: they are a set's.
    None,
    /// Values of this type, as far as that is known.
    Of(Option<&'t Type>),
}

impl<'j> Reader<'j> {
    /// An expression. `expected` is the type that constants in it have.
    pub(super) fn expression(&mut self, json: &'j Json, expected: Option<&Type>) -> Expression {
        match json {
            Json::Object(_) => match single(json) {
                Some((key, body)) => {
                    self.at(Place::Key(key), |reader| reader.compound(key, body, expected, json))
                }
                None => self.no_expression("an object with one key", json),
            },
            Json::Array(all) => Expression::List(self.list(all, expected)),
            Json::String(word) if word.starts_with('@') => Expression::Reference(word[1..].to_owned()),
            _ => self.constant(json, expected),
        }
    }

    pub(super) fn no_expression(&mut self, expected: &str, json: &Json) -> Expression {
        self.not_understood(expected, json);
        Expression::NotUnderstood(json.clone())
    }

    fn list(&mut self, all: &'j [Json], expected: Option<&Type>) -> Vec<Expression> {
        let mut list = Vec::with_capacity(all.len());
        for (index, item) in all.iter().enumerate() {
            list.push(self.at(Place::Index(index), |reader| reader.expression(item, expected)));
        }
        list
    }

    fn constant(&mut self, json: &'j Json, expected: Option<&Type>) -> Expression {
        let printed = match json {
            Json::Bool(value) => Scalar::Bool(*value),
            Json::String(text) => Scalar::Text(text.clone()),
            Json::Number(number) => match number.as_u64() {
                Some(number) => Scalar::Number(number),
                None => return self.no_expression("a number from 0 to 2⁶⁴-1", json),
            },
            _ => return self.no_expression("a value", json),
        };
        let value_type = match expected {
            Some(known @ Type::One(..)) => known.clone(),
            Some(Type::Concat(_)) | None => guess(&printed),
        };
        let Some(datum) = value_type.kind().and_then(|it| it.datum(&printed)) else {
            let kind = value_type.kind().map_or("value", Kind::word);
            return self.no_expression(&format!("a value of type {kind}"), json);
        };
        // The width of an address follows from its value where the type leaves it open.
        let value_type = match value_type {
            Type::One(Kind::Address, _) => guess(&printed),
            other => other,
        };
        Expression::Constant(Constant { printed, datum, value_type })
    }

    fn compound(
        &mut self,
        key: &'j str,
        body: &'j Json,
        expected: Option<&Type>,
        whole: &'j Json,
    ) -> Expression {
        if let Some(operator) = Operator::from_sign(key) {
            return self.binary(operator, body, expected, whole);
        }
        let read = match key {
            "concat" => body.as_array().map(|parts| self.concat(parts, expected)),
            "set" => body
                .as_array()
                .map(|all| Expression::Set(Box::new(self.elements(all, expected, Values::None)))),
            "map" => self.map(body, expected),
            "prefix" => self.prefix(body, expected),
            "range" => match body.as_array().map(Vec::as_slice) {
                Some([low, high]) => {
                    let low = self.at(Place::Index(0), |reader| reader.expression(low, expected));
                    let high = self.at(Place::Index(1), |reader| reader.expression(high, expected));
                    Some(Expression::Range(Box::new(low), Box::new(high)))
                }
                _ => None,
            },
            _ => body.as_object().and_then(|body| self.selector(key, body)),
        };
        read.unwrap_or_else(|| self.no_expression("an expression that is known", whole))
    }

    fn binary(
        &mut self,
        operator: Operator,
        body: &'j Json,
        expected: Option<&Type>,
        whole: &'j Json,
    ) -> Expression {
        let Some([first, others @ ..]) = body.as_array().map(Vec::as_slice) else {
            return self.no_expression("a list of operands", whole);
        };
        let first = self.at(Place::Index(0), |reader| reader.expression(first, expected));
        let of_first = first.value_type();
        let is_shift = matches!(operator, Operator::Left | Operator::Right);
        let integer = Type::integer(32);
        let of_others = if is_shift { Some(&integer) } else { of_first.as_ref().or(expected) };
        let mut operands = vec![first];
        for (index, operand) in others.iter().enumerate() {
            operands.push(self.at(Place::Index(index + 1), |reader| reader.expression(operand, of_others)));
        }
        Expression::Binary(operator, operands)
    }

    fn concat(&mut self, parts: &'j [Json], expected: Option<&Type>) -> Expression {
        let types = match expected {
            Some(Type::Concat(types)) if types.len() == parts.len() => types.as_slice(),
            _ => &[],
        };
        let mut all = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            all.push(self.at(Place::Index(index), |reader| reader.part(part, types.get(index))));
        }
        Expression::Concat(all)
    }

    /// A part of an element's key, where `*` stands for everything.
    fn part(&mut self, json: &'j Json, expected: Option<&Type>) -> Expression {
        if json.as_str() == Some("*") { Expression::Everything } else { self.expression(json, expected) }
    }

    fn map(&mut self, body: &'j Json, expected: Option<&Type>) -> Option<Expression> {
        let key = body.get("key")?;
        let data = body.get("data")?;
        let key = self.at(Place::Key("key"), |reader| reader.expression(key, None));
        let data = self.at(Place::Key("data"), |reader| reader.map_data(data, &key, expected));
        Some(Expression::Map { key: Box::new(key), data: Box::new(data) })
    }

    /// What a map or verdict map looks into.
    pub(super) fn map_data(
        &mut self,
        json: &'j Json,
        key: &Expression,
        expected: Option<&Type>,
    ) -> Expression {
        match single(json) {
            Some(("set", Json::Array(all))) => {
                let key_type = key.value_type();
                let elements = self.at(Place::Key("set"), |reader| {
                    reader.elements(all, key_type.as_ref(), Values::Of(expected))
                });
                Expression::Set(Box::new(elements))
            }
            _ => self.expression(json, expected),
        }
    }

    fn prefix(&mut self, body: &'j Json, expected: Option<&Type>) -> Option<Expression> {
        let address = body.get("addr")?;
        let length = u32::try_from(body.get("len")?.as_u64()?).ok()?;
        let address = self.at(Place::Key("addr"), |reader| reader.expression(address, expected));
        Some(Expression::Prefix(Box::new(address), length))
    }

    /// What takes a value from the packet or around it.
    fn selector(&mut self, key: &str, body: &'j Map<String, Json>) -> Option<Expression> {
        let word = |key: &str| text(body, key);
        let owned = |key: &str| text(body, key).map(str::to_owned);
        let number = |key: &str| body.get(key)?.as_u64();
        let has_only = |known: &[&str]| rest(body, known).is_empty();
        Some(match key {
            "meta" if has_only(&["key"]) => Expression::Meta(fields::meta(word("key")?)?.0),
            "payload" => payload(body)?,
            "ct" if has_only(&["key", "dir", "family"]) => {
                let direction = match word("dir") {
                    None => None,
                    Some("original") => Some(Direction::Original),
                    Some("reply") => Some(Direction::Reply),
                    Some(_) => return None,
                };
                Expression::Ct { key: fields::ct(word("key")?)?.0, direction }
            }
            "fib" if has_only(&["result", "flags"]) => {
                Expression::Fib { result: owned("result")?, flags: super::words(body.get("flags"))?.list }
            }
            "numgen" if has_only(&["mode", "mod", "offset"]) => Expression::Numgen {
                random: match word("mode")? {
                    "random" => true,
                    "inc" => false,
                    _ => return None,
                },
                modulus: number("mod")?,
                offset: number("offset").unwrap_or(0),
            },
            "jhash" | "symhash" if has_only(&["mod", "seed", "offset", "expr"]) => {
                let of = body.get("expr").map(|inner| {
                    Box::new(self.at(Place::Key("expr"), |reader| reader.expression(inner, None)))
                });
                if of.is_some() != (key == "jhash") {
                    return None;
                }
                Expression::Hash {
                    of,
                    modulus: number("mod")?,
                    seed: number("seed"),
                    offset: number("offset"),
                }
            }
            "rt" if has_only(&["key", "family"]) => {
                Expression::Rt(fields::rt(word("key")?)?.0, owned("family"))
            }
            "socket" if has_only(&["key"]) => Expression::Socket(fields::socket(word("key")?)?.0),
            "osf" if has_only(&["key", "ttl"]) => Expression::Osf(owned("key")?, owned("ttl")),
            "ipsec" if has_only(&["key", "family", "dir", "spnum"]) => Expression::Ipsec {
                key: fields::ipsec(word("key")?)?.0,
                family: owned("family"),
                direction: owned("dir")?,
                number: number("spnum").unwrap_or(0),
            },
            "exthdr" if has_only(&["name", "field"]) => Expression::Exthdr(owned("name")?, owned("field")),
            "tcp option" if has_only(&["name", "field"]) && body.contains_key("name") => {
                Expression::TcpOption(owned("name")?, owned("field"))
            }
            "tcp option" | "ip option" | "sctp chunk" | "dccp option" => {
                Expression::Option(key.to_owned(), Json::Object(body.clone()))
            }
            "tunnel" if has_only(&["key"]) => Expression::TunnelKey(owned("key")?),
            _ => return None,
        })
    }

    /// Elements of a set; of a map where `data` says what its values are.
    pub(super) fn elements(&mut self, all: &'j [Json], key: Option<&Type>, data: Values<'_>) -> Elements {
        let mut elements = Vec::with_capacity(all.len());
        for (index, item) in all.iter().enumerate() {
            elements.push(self.at(Place::Index(index), |reader| reader.element(item, key, data)));
        }
        elements.into_iter().collect()
    }

    fn element(&mut self, json: &'j Json, key: Option<&Type>, data: Values<'_>) -> Element {
        match (data, json.as_array().map(Vec::as_slice)) {
            (Values::Of(data), Some([left, right])) => {
                let mut element = self.at(Place::Index(0), |reader| reader.element(left, key, Values::None));
                element.data = Some(self.at(Place::Index(1), |reader| reader.data(right, data)));
                element
            }
            _ => match single(json) {
                Some(("elem", Json::Object(body))) if body.contains_key("val") => {
                    self.at(Place::Key("elem"), |reader| reader.long_element(body, key))
                }
                _ => Element::of(self.part(json, key)),
            },
        }
    }

    fn long_element(&mut self, body: &'j Map<String, Json>, key: Option<&Type>) -> Element {
        let value = &body["val"];
        let mut element = Element::of(self.at(Place::Key("val"), |reader| reader.part(value, key)));
        element.timeout = super::number(body, "timeout");
        element.expires = super::number(body, "expires");
        element.comment = text(body, "comment").map(str::to_owned);
        element.state = rest(body, &["val", "timeout", "expires", "comment"]).into_iter().collect();
        element
    }

    fn data(&mut self, json: &'j Json, expected: Option<&Type>) -> Data {
        match super::statement::verdict(json) {
            Some(verdict) => Data::Verdict(verdict),
            None => Data::Value(self.expression(json, expected)),
        }
    }
}

/// A field of a header, bits of the packet, or a field of what a tunnel carries.
fn payload(body: &Map<String, Json>) -> Option<Expression> {
    let (protocol, name) = (text(body, "protocol"), text(body, "field"));
    if let Some(tunnel) = text(body, "tunnel") {
        return Some(Expression::Inner(tunnel.to_owned(), protocol?.to_owned(), name?.to_owned()));
    }
    if let (Some(protocol), Some(name), 2) = (protocol, name, body.len()) {
        return Field::find(protocol, name).map(Expression::Field);
    }
    let number = |key: &str| u32::try_from(body.get(key)?.as_u64()?).ok();
    let base = Base::from_word(text(body, "base")?)?;
    Some(Expression::Raw { base, offset: number("offset")?, bits: number("len")? })
}

/// The type of a value that nothing says the type of.
fn guess(printed: &Scalar) -> Type {
    let Scalar::Text(text) = printed else { return Type::integer(64) };
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        Type::of(Kind::Ipv4)
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        Type::of(Kind::Ipv6)
    } else if text.parse::<hopwise_snapshot::Mac>().is_ok() {
        Type::of(Kind::Ether)
    } else {
        Type::of(Kind::Text)
    }
}

impl Expression {
    /// The type of its values, as far as it is known without the sets it refers to.
    pub(crate) fn value_type(&self) -> Option<Type> {
        let one = |key: &fields::Key| Type::One(key.1, key.2);
        Some(match self {
            Self::Constant(constant) => constant.value_type.clone(),
            Self::Meta(key) => one(fields::meta(key)?),
            Self::Field(field) => field.value_type(),
            Self::Raw { bits, .. } => Type::One(Kind::Hexadecimal, *bits),
            Self::Inner(_, protocol, name) => Field::find(protocol, name)?.value_type(),
            Self::Ct { key, .. } => one(fields::ct(key)?),
            Self::Fib { result, .. } => Type::of(match result.as_str() {
                "type" => Kind::FibAddrtype,
                "oif" => Kind::Ifindex,
                "oifname" => Kind::Ifname,
                "check" => Kind::Boolean,
                _ => return None,
            }),
            Self::Numgen { .. } | Self::Hash { .. } | Self::Option(..) | Self::TunnelKey(_) => {
                Type::integer(32)
            }
            Self::Rt(key, _) => one(fields::rt(key)?),
            Self::Socket(key) => one(fields::socket(key)?),
            Self::Osf(..) => Type::of(Kind::Text),
            Self::Ipsec { key, .. } => one(fields::ipsec(key)?),
            Self::Exthdr(_, None) | Self::TcpOption(_, None) => Type::of(Kind::Boolean),
            Self::Exthdr(name, Some(field)) | Self::TcpOption(name, Some(field)) => {
                fields::extension_type(name, field)
            }
            Self::Binary(_, operands) => operands.first()?.value_type()?,
            Self::Prefix(inner, _) | Self::Range(inner, _) => inner.value_type()?,
            Self::List(all) => all.first()?.value_type()?,
            Self::Concat(parts) => Type::Concat(parts.iter().map(Self::value_type).collect::<Option<_>>()?),
            Self::Map { data, .. } => match &**data {
                Self::Set(elements) => match &elements.iter().next()?.data {
                    Some(Data::Value(value)) => value.value_type()?,
                    _ => return None,
                },
                _ => return None,
            },
            Self::Set(_) | Self::Reference(_) | Self::Everything | Self::NotUnderstood(_) => return None,
        })
    }
}
