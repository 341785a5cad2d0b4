//! JSON as iproute2 prints it: lists of objects, in which a name may occur twice.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

use crate::error::{Document, Position, SourceError};

/// One object of a list, and where it begins.
pub(super) struct Entry<'a> {
    document: Document<'a>,
    place: Position,
    fields: Fields,
}

/// The fields of an object. Of a name that occurs twice the first counts: the encapsulation of a route
/// repeats `dst`, after the route's own (`iproute_lwtunnel.c`, iproute2 6.1).
struct Fields(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstWins;
        impl<'de> Visitor<'de> for FirstWins {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    fields.entry(name).or_insert(value);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FirstWins)
    }
}

/// The objects of a list. An empty text is an empty list: iproute2 prints nothing for nothing.
pub(super) fn entries<'a>(file: &'a str, text: &'a str) -> Result<Vec<Entry<'a>>, SourceError> {
    let document = Document { file, text };
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let error =
        |part: &str, error: &serde_json::Error| document.json_error(document.position_of(part), error);
    let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|it| error(text, &it))?;
    let mut entries = Vec::with_capacity(parts.len());
    let mut places = Places { document, offset: 0, place: Position { line: 1, column: 1 } };
    for part in parts {
        let fields = serde_json::from_str(part.get()).map_err(|it| error(part.get(), &it))?;
        entries.push(Entry { document, place: places.of(part.get()), fields });
    }
    // `bridge` prints `{}` for devices that it has nothing to say about.
    entries.retain(|it| !it.fields.0.is_empty());
    Ok(entries)
}

/// Finds the places of parts that follow one another, each text counted once.
struct Places<'a> {
    document: Document<'a>,
    offset: usize,
    place: Position,
}

impl Places<'_> {
    fn of(&mut self, part: &str) -> Position {
        let offset = part.as_ptr().addr().saturating_sub(self.document.text.as_ptr().addr());
        let between = self.document.text.get(self.offset..offset).unwrap_or_default();
        self.place = self.place.within(Position::of(between, between.len()));
        self.offset = offset;
        self.place
    }
}

impl<'a> Entry<'a> {
    /// An error about this object.
    pub(super) fn error(&self, problem: impl Into<String>) -> SourceError {
        self.document.error(self.place, problem)
    }

    fn wrong(&self, name: &str, value: &Value, expected: &str) -> SourceError {
        self.error(format!("`{name}` is {value}, expected {expected}"))
    }

    /// Is there such a field, whatever its value? Switches are printed as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.0.contains_key(name)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.0.get(name).filter(|it| !it.is_null())
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, SourceError> {
        match self.get(name) {
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other, "a text")),
            None => Ok(None),
        }
    }

    /// The field where it is a text, whatever else it may be.
    pub(super) fn text_alone(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<&str, SourceError> {
        self.text(name)?.ok_or_else(|| self.error(format!("expected a field `{name}`")))
    }

    /// A number, in decimal or as a text in hexadecimal (`"0x10"`).
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, SourceError> {
        let number = match self.get(name) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => parse_number(text),
            Some(_) => None,
            None => return Ok(None),
        };
        match (number.and_then(|it| T::try_from(it).ok()), self.get(name)) {
            (Some(number), _) => Ok(Some(number)),
            (None, Some(value)) => Err(self.wrong(name, value, "a number in its range")),
            (None, None) => Ok(None),
        }
    }

    /// A switch: a truth value, or 0 and 1.
    pub(super) fn is_on(&self, name: &str) -> Result<Option<bool>, SourceError> {
        match self.get(name) {
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(Value::Number(number)) => Ok(Some(number.as_u64() != Some(0))),
            Some(other) => Err(self.wrong(name, other, "true or false")),
            None => Ok(None),
        }
    }

    /// Texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, SourceError> {
        match self.get(name) {
            Some(Value::Array(values)) => {
                let text = |it: &'_ Value| it.as_str().map(str::len).map(|_| ());
                if values.iter().any(|it| text(it).is_none()) {
                    return Err(self.error(format!("`{name}` expected to be a list of texts")));
                }
                Ok(values.iter().filter_map(Value::as_str).collect())
            }
            Some(other) => Err(self.wrong(name, other, "a list of texts")),
            None => Ok(Vec::new()),
        }
    }

    /// The objects of a list inside.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Entry<'a>>, SourceError> {
        match self.get(name) {
            Some(Value::Array(values)) => values.iter().map(|it| self.inside(name, it)).collect(),
            Some(other) => Err(self.wrong(name, other, "a list")),
            None => Ok(Vec::new()),
        }
    }

    /// An object inside.
    pub(super) fn object(&self, name: &str) -> Result<Option<Entry<'a>>, SourceError> {
        self.get(name).map(|it| self.inside(name, it)).transpose()
    }

    fn inside(&self, name: &str, value: &Value) -> Result<Entry<'a>, SourceError> {
        match value {
            Value::Object(map) => {
                let fields = map.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                Ok(Entry { document: self.document, place: self.place, fields: Fields(fields) })
            }
            other => Err(self.wrong(name, other, "an object")),
        }
    }
}

/// A number in decimal or, after `0x`, in hexadecimal.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None => text.parse().ok(),
    }
}
