//! Reads a typed value from a tree, and says where in the tree it failed.

use std::collections::btree_map;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::failure::Failure;
use super::node::{Node, Step};

/// Reads a `T`; the failure's path leads to the key or value at fault.
pub(super) fn read<T: DeserializeOwned>(tree: &Node) -> Result<T, Failure> {
    T::deserialize(Reader(tree)).map_err(|failure| failure.pinned(tree))
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a Node);

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Negative(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::List(list) => {
                let mut items = Items { list, next: 0 };
                let value = visitor.visit_seq(&mut items)?;
                items.finish()?;
                Ok(value)
            }
            Node::Map(map) => visitor.visit_map(Entries { rest: map.iter(), open: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    /// serde would also fill a struct's fields in order from a list, which a reader of the file cannot follow.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Map(_) => self.deserialize_any(visitor),
            other => Err(Failure::invalid_type(other.unexpected(), &visitor)),
        }
    }

    /// A variant is `name`, or `name: content` where it has content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.0 {
            Node::Text(name) => visitor.visit_enum(StrDeserializer::new(name)),
            Node::Map(map) if map.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { rest: map.iter(), open: None }))
            }
            other => {
                let expected = format!("one of `{}`", variants.join("`, `"));
                Err(Failure::invalid_type(other.unexpected(), &expected.as_str()))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    list: &'a [Node],
    next: usize,
}

impl Items<'_> {
    /// A list with more items than the type takes is a mistake, not a surplus.
    fn finish(self) -> Result<(), Failure> {
        if self.next == self.list.len() {
            return Ok(());
        }
        Err(Failure::custom(format!("found a list of {} items, expected {}", self.list.len(), self.next)))
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(item) = self.list.get(self.next) else { return Ok(None) };
        let step = Step::Index(self.next);
        self.next += 1;
        seed.deserialize(Reader(item)).map(Some).map_err(|failure| failure.below(step))
    }
}

struct Entries<'a> {
    rest: btree_map::Iter<'a, String, Node>,
    /// The entry whose key has been handed out and whose value has not.
    open: Option<(&'a String, &'a Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.open = self.rest.next();
        self.open.map(|(key, _)| seed.deserialize(key.as_str().into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let (key, value) = self.open.take().ok_or_else(|| Failure::custom("a value was read before its key"))?;
        seed.deserialize(Reader(value)).map_err(|failure| failure.below(Step::Key(key.clone())))
    }
}
