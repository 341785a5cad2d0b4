//! Snapshots of any content, made by asking the reader what it would read: every field that a type can read is filled,
//! also one that was added yesterday.

use std::any::type_name;

use hopwise_snapshot::Snapshot;
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor,
        value::{Error, StringDeserializer},
    },
    forward_to_deserialize_any,
};

/// The snapshot of this number.
pub(crate) fn snapshot(seed: u64) -> Snapshot {
    let mut dice = Dice(seed | 1);
    Snapshot::deserialize(Any { dice: &mut dice, wanted: "", depth: 0 })
        .unwrap_or_else(|error| panic!("seed {seed}: the generator does not know what is wanted: {error}"))
}

/// A row of numbers (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// A number, small ones as likely as large ones.
    fn number(&mut self, bits: usize) -> u64 {
        let n = self.below(bits + 1);
        if n == 0 { 0 } else { self.next() >> (64 - n) }
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 10] =
            ["", "eth0", "a b", "\n", "\"\\", "ä🦀", "\0", "10.0.0.0/8", "%2F/", "known"];
        (0..self.below(3)).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }
}

/// What answers a reader with whatever it wants.
struct Any<'d> {
    dice: &'d mut Dice,
    /// The type whose value is wanted, as far as the reader said.
    wanted: &'static str,
    depth: usize,
}

impl Any<'_> {
    /// A text that the wanted type understands.
    fn text(&mut self, value: &str) -> String {
        // What speaks as text asks for a text.
        let wanted = if value == type_name::<String>() { self.wanted } else { value };
        let n = self.dice.below(4);
        let is = |name: &str| wanted.contains(name);
        match () {
            () if is("mac::Mac") => {
                ["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "33:33:00:00:00:01"][n].into()
            }
            () if is("name::PodName") => ["default/a", "kube-system/coredns-1", "a/b.c", "ä/ö"][n].into(),
            () if is("name::Place") => ["node/w1", "pod/default/a", "node/ä", "pod/a/b.c"][n].into(),
            () if is("IpNet") || is("Ipv4Net") => ["10.1.2.3/8", "fd00::1/64", "0.0.0.0/0", "::/0"][n].into(),
            () if is("Ipv4Addr") => ["10.0.0.1", "0.0.0.0", "127.0.0.1", "255.255.255.255"][n].into(),
            () if is("IpAddr") => ["10.0.0.1", "fd00::1", "0.0.0.0", "::ffff:1.2.3.4"][n].into(),
            () if is("Timestamp") => [
                "2026-11-21T10:00:00Z",
                "1970-01-01T00:00:00Z",
                "2026-11-21T10:00:00.5Z",
                "1969-01-01T00:00:00Z",
            ][n]
                .into(),
            () if is("Flags") || is("InternalBitFlags") => ["0x1", "0x0", "0x41", "0x80000003"][n].into(),
            () => self.dice.text(),
        }
    }

    fn inner(&mut self, wanted: &'static str) -> Any<'_> {
        Any { dice: &mut *self.dice, wanted, depth: self.depth + 1 }
    }

    /// How many members a list has: fewer the deeper it lies.
    fn length(&mut self) -> usize {
        match self.depth {
            0..4 => 1 + self.dice.below(2),
            _ => self.dice.below(3),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let bits = <$type>::BITS as usize;
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, trivial_numeric_casts,
                reason = "any number will do")]
            visitor.$visit(self.dice.number(bits) as $type)
        }
    )*};
}

impl<'de> Deserializer<'de> for Any<'_> {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match type_name::<V::Value>() {
            it if it.ends_with("PortNumberOrName") && self.dice.below(2) == 0 => {
                visitor.visit_u64(self.dice.number(16))
            }
            it if it.ends_with("PortNumberOrName") => visitor.visit_str("http"),
            other => Err(Error::custom(format_args!("anything for {other}"))),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.dice.below(2) == 0)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text(type_name::<V::Value>());
        visitor.visit_string(text)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.dice.below(4) == 0 { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let left = self.length();
        visitor.visit_seq(Members { any: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Members { any: self, left })
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let left = self.length();
        visitor.visit_map(Members { any: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { any: self, fields })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // Facts are mostly there.
        let is_known = name == "Observed" && self.dice.below(4) > 0;
        let at = if is_known { 0 } else { self.dice.below(variants.len()) };
        visitor.visit_enum(Variant { any: self, name: variants[at] })
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

/// The members of a list or a map.
struct Members<'d> {
    any: Any<'d>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.any.inner(type_name::<S::Value>())).map(Some)
    }
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.any.inner(type_name::<S::Value>()))
    }
}

/// All fields of a type.
struct Fields<'d> {
    any: Any<'d>,
    fields: &'static [&'static str],
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((first, rest)) = self.fields.split_first() else { return Ok(None) };
        self.fields = rest;
        seed.deserialize(StringDeserializer::<Error>::new((*first).to_owned())).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.any.inner(type_name::<S::Value>()))
    }
}

/// One of several kinds.
struct Variant<'d> {
    any: Any<'d>,
    name: &'static str,
}

impl<'de, 'd> EnumAccess<'de> for Variant<'d> {
    type Error = Error;
    type Variant = Content<'d>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'d>), Error> {
        let name = StringDeserializer::<Error>::new(self.name.to_owned());
        Ok((seed.deserialize(name)?, Content(self.any)))
    }
}

/// What belongs to a kind.
struct Content<'d>(Any<'d>);

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.0.inner(type_name::<S::Value>()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
