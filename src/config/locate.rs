//! The line and column of a key or value. The parser tells the place of errors only; so the text is read once
//! more by a visitor that follows the path and refuses what it finds at its end.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::node::Step;

/// What at the end of the path is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// The key itself.
    Key,
    /// The value behind it.
    Value,
}

/// The line and column, from 1, of the end of the path in a text that has it.
pub(super) fn locate(text: &str, path: &[Step], target: Target) -> Option<(usize, usize)> {
    let follow = Follow { path, target };
    let refusal = follow.deserialize(serde_yaml_ng::Deserializer::from_str(text)).err()?;
    refusal.location().map(|place| (place.line(), place.column()))
}

/// Follows a path into a value; succeeds if the path leads nowhere.
struct Follow<'a> {
    path: &'a [Step],
    target: Target,
}

impl<'de> DeserializeSeed<'de> for Follow<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.path {
            [] => deserializer.deserialize_any(Refuse),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Follow<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a list or a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((Step::Key(key), rest)) = self.path.split_first() else { return Ok(()) };
        let refuse = rest.is_empty() && self.target == Target::Key;
        while let Some(found) = entries.next_key_seed(IsKey { key, refuse })? {
            match found {
                true => entries.next_value_seed(Follow { path: rest, target: self.target })?,
                false => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Index(index), rest)) = self.path.split_first() else { return Ok(()) };
        for _ in 0..*index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Follow { path: rest, target: self.target })?;
        Ok(())
    }
}

/// Whether a key is the one sought; refuses it if it is the path's end.
struct IsKey<'a> {
    key: &'a str,
    refuse: bool,
}

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.key, self.refuse) {
            (true, true) => Err(E::custom("here")),
            (found, _) => Ok(found),
        }
    }
}

/// Refuses every value: a visitor without methods.
struct Refuse;

impl Visitor<'_> for Refuse {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("nothing")
    }
}
