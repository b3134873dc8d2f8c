//! What is wrong with a value, and where in the tree.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::node::{Node, Step};

/// A refusal to read a tree as the program's type.
#[derive(Debug)]
pub(super) struct Failure {
    /// From the root to the key or value at fault.
    pub(super) path: Vec<Step>,
    pub(super) fault: Fault,
}

/// The ways in which a tree can fail to be a configuration.
#[derive(Debug)]
pub(super) enum Fault {
    /// A key that the section does not have; `known` are those it has.
    UnknownKey { key: String, known: &'static [&'static str] },
    /// A name that is none of the `known` variants.
    UnknownVariant { name: String, known: &'static [&'static str] },
    /// A key that has no default is not given.
    MissingKey(&'static str),
    /// A value of another type or outside the range.
    Value { found: String, expected: String },
    /// Anything a section's own reading code says.
    Other(String),
}

impl Failure {
    fn new(fault: Fault) -> Self {
        Failure { path: Vec::new(), fault }
    }

    /// The same failure seen from one step higher in the tree.
    pub(super) fn below(mut self, step: Step) -> Self {
        self.path.insert(0, step);
        self
    }

    /// Whether only a key is missing, which another file may still give.
    pub(super) fn is_missing_key(&self) -> bool {
        matches!(self.fault, Fault::MissingKey(_))
    }

    /// Leads the path to the very key or value. Sections that are tagged enums are read from a buffer, in
    /// which serde loses the way; it is found again if only one place fits.
    pub(super) fn pinned(mut self, tree: &Node) -> Self {
        let Some(section) = tree.get(&self.path) else { return self };
        if matches!(&self.fault, Fault::Value { found, .. } if describe(section.unexpected()) == *found) {
            return self;
        }
        let mut fitting = Vec::new();
        collect(section, &mut Vec::new(), &|step, node| self.fits(step, node), &mut fitting);
        let direct = fitting.iter().position(|path| path.len() == 1 && matches!(self.fault, Fault::UnknownKey { .. }));
        let found = direct.or((fitting.len() == 1).then_some(0));
        self.path.extend(found.map(|index| fitting.swap_remove(index)).unwrap_or_default());
        self
    }

    /// Whether the fault can be that of this node below the path.
    fn fits(&self, step: &Step, node: &Node) -> bool {
        match &self.fault {
            Fault::UnknownKey { key, .. } => matches!(step, Step::Key(name) if name == key),
            Fault::UnknownVariant { name, .. } => matches!(node, Node::Text(text) if text == name),
            Fault::Value { found, .. } => node.children().is_empty() && describe(node.unexpected()) == *found,
            Fault::MissingKey(_) | Fault::Other(_) => false,
        }
    }

    /// The failure in words, its key first.
    pub(super) fn what(&self) -> String {
        let path = dotted(&self.path);
        let what = match &self.fault {
            Fault::UnknownKey { .. } => "unknown key".to_owned(),
            Fault::UnknownVariant { name, known } => {
                format!("found `{}`, expected one of `{}`", clip(name), known.join("`, `"))
            }
            Fault::MissingKey(key) => format!("the key `{key}` is missing and has no default"),
            Fault::Value { found, expected } => format!("found {found}, expected {expected}"),
            Fault::Other(text) => clip(text),
        };
        if path.is_empty() { what } else { format!("{path}: {what}") }
    }
}

/// The paths of all nodes below `node` for which `fits` holds.
fn collect(node: &Node, path: &mut Vec<Step>, fits: &dyn Fn(&Step, &Node) -> bool, found: &mut Vec<Vec<Step>>) {
    for (step, child) in node.children() {
        let here = fits(&step, child);
        path.push(step);
        if here {
            found.push(path.clone());
        }
        collect(child, path, fits, found);
        path.pop();
    }
}

/// A path as it is written in an override: `model.layers[2].width`.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(&clip(key)),
            Step::Key(key) => text.push_str(&format!(".{}", clip(key))),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Text from a file as it may stand in a message: short and without control characters.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut clipped: String = text.chars().take(LONGEST).flat_map(escape_control).collect();
    if text.chars().nth(LONGEST).is_some() {
        clipped.push('…');
    }
    clipped
}

fn escape_control(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

fn describe(found: Unexpected) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "no value (null)".to_owned(),
        Unexpected::Str(text) => format!("the text \"{}\"", clip(text)),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value:?}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section of keys".to_owned(),
        other => clip(&other.to_string()),
    }
}

/// serde names the Rust type it wants; users know YAML.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "f32" | "f64" => "a number".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => format!("a whole number from 0 ({text})"),
        "i8" | "i16" | "i32" | "i64" | "isize" => format!("a whole number ({text})"),
        "a string" => "text (in quotes if it looks like a number)".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        _ if text.starts_with("struct ") || text.starts_with("internally tagged enum ") => {
            "a section of keys (indented below; or leave the key out)".to_owned()
        }
        _ => text,
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.what())
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Failure::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        Failure::new(Fault::Value { found: describe(found), expected: wanted(expected) })
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Failure::new(Fault::Other(format!("found a list of {length} items, expected {expected}")))
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Failure::new(Fault::UnknownVariant { name: name.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Failure::new(Fault::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Failure::new(Fault::MissingKey(key))
    }
}
