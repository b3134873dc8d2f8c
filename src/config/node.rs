//! The tree of values that a YAML text describes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor};

use super::layer::{ALIAS_LIMIT, MAX_BYTES};

/// A YAML value with its aliases resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// One step down the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Default for Node {
    fn default() -> Self {
        Node::Map(BTreeMap::new())
    }
}

impl Node {
    /// Reads one YAML document. Errors carry their line and column. Aliases cannot make the tree larger than
    /// about twice what the largest file could hold without them.
    pub(super) fn parse(text: &str) -> Result<Node, serde_yaml_ng::Error> {
        let budget = Cell::new(2 * MAX_BYTES);
        NodeSeed(&budget).deserialize(serde_yaml_ng::Deserializer::from_str(text))
    }

    /// Lays another tree over this one: maps are merged, everything else is replaced.
    pub(super) fn lay(&mut self, over: &Node) {
        match (self, over) {
            (Node::Map(below), Node::Map(over)) => {
                for (key, value) in over {
                    match below.get_mut(key) {
                        Some(node) => node.lay(value),
                        None => drop(below.insert(key.clone(), value.clone())),
                    }
                }
            }
            (below, over) => *below = over.clone(),
        }
    }

    /// The value at the end of a path, if the tree has one.
    pub(super) fn get(&self, path: &[Step]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match (node, step) {
            (Node::Map(map), Step::Key(key)) => map.get(key),
            (Node::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        })
    }

    /// The children, each with the step that leads to it.
    pub(super) fn children(&self) -> Vec<(Step, &Node)> {
        match self {
            Node::Map(map) => map.iter().map(|(key, node)| (Step::Key(key.clone()), node)).collect(),
            Node::List(list) => list.iter().enumerate().map(|(index, node)| (Step::Index(index), node)).collect(),
            _ => Vec::new(),
        }
    }

    /// What serde calls such a value where it expected another.
    pub(super) fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Node::Null => Unexpected::Unit,
            Node::Bool(value) => Unexpected::Bool(*value),
            Node::Unsigned(value) => Unexpected::Unsigned(*value),
            Node::Negative(value) => Unexpected::Signed(*value),
            Node::Float(value) => Unexpected::Float(*value),
            Node::Text(text) => Unexpected::Str(text),
            Node::List(_) => Unexpected::Seq,
            Node::Map(_) => Unexpected::Map,
        }
    }
}

/// Builds a [`Node`] and pays for it from a budget shared by the whole document.
#[derive(Clone, Copy)]
struct NodeSeed<'a>(&'a Cell<usize>);

impl NodeSeed<'_> {
    fn pay<E: serde::de::Error>(self, cost: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(cost);
        self.0.set(left.ok_or_else(|| E::custom(ALIAS_LIMIT))?);
        Ok(())
    }

    fn leaf<E: serde::de::Error>(self, node: Node) -> Result<Node, E> {
        self.pay(1)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a plain value, a list or a map")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Node::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.leaf(Node::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.leaf(Node::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.leaf(Node::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.leaf(Node::Negative(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.leaf(Node::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.pay(text.len())?;
        self.leaf(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.pay(1)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.pay(1)?;
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key_seed(NewKey(&map))? {
            self.pay(key.len())?;
            map.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Node::Map(map))
    }
}

/// Reads a key that the map does not have yet. The refusal comes from the key itself, so that the parser
/// reports the key's line and not the map's.
struct NewKey<'a>(&'a BTreeMap<String, Node>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NewKey<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a plain key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if self.0.contains_key(key) {
            return Err(E::custom(format!("the key `{}` is given twice", super::failure::clip(key))));
        }
        Ok(key.to_owned())
    }
}
