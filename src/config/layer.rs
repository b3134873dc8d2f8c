//! The layers of a configuration: files, found through `extends`, and overrides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Origin;
use super::failure::{Failure, Fault, clip, dotted};
use super::locate::{Target, locate};
use super::node::{Node, Step};
use crate::{Error, Result};

/// The largest configuration file.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The largest product of a file's size and its count of opening brackets. The parser looks at every open
/// bracket again for each token; a file of a million brackets would keep it busy for a quarter of an hour.
const MAX_BRACKET_WORK: usize = 500_000_000;
/// What is said of aliases that would make a small file large.
pub(super) const ALIAS_LIMIT: &str = "the aliases repeat too much: write fewer, smaller ones";
/// The longest chain of files that extend each other, and the deepest key of an override.
const MAX_DEPTH: usize = 16;
/// The key under which a file names those it extends.
const EXTENDS: &str = "extends";

/// One tree of values and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) tree: Node,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File { path: PathBuf, text: String },
    Override { written: String, key: Vec<Step> },
}

impl Layer {
    /// Reads an override of the form `a.b=value`.
    pub(super) fn from_override(written: &str) -> Result<Self> {
        let refuse = |what: &str| Error::Config(format!("override `{}`: {what}", clip(written)));
        let (key, value) = written.split_once('=').ok_or_else(|| refuse("expected `key=value`"))?;
        let key: Vec<&str> = key.trim().split('.').collect();
        if key.contains(&"") || key.len() > MAX_DEPTH {
            return Err(refuse("expected a key such as `train.steps` before the `=`"));
        }
        if value.len() > MAX_BYTES {
            return Err(refuse("the value is larger than 1 MiB"));
        }
        check_cost(value).map_err(refuse)?;
        let value = Node::parse(value).map_err(|error| refuse(&format!("not YAML: {}", without_place(&error))))?;
        let tree = key.iter().rfold(value, |node, name| Node::Map(BTreeMap::from([(name.to_string(), node)])));
        let key = key.into_iter().map(|name| Step::Key(name.to_owned())).collect();
        Ok(Layer { tree, source: Source::Override { written: written.to_owned(), key } })
    }

    /// A layer whose text is at hand; `path` says where it is from.
    pub(super) fn from_text(path: &Path, text: String) -> Result<Self> {
        Ok(Layer { tree: parse(path, &text)?, source: Source::File { path: path.to_path_buf(), text } })
    }

    /// The file's path, if the layer is a file.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path, .. } => Some(path),
            Source::Override { .. } => None,
        }
    }

    /// Where the key at the end of a path has its value from once this layer is laid over others; `None` if
    /// that is as before.
    pub(super) fn origin(&self, path: &[Step]) -> Option<Origin> {
        if self.tree.get(path).is_some() {
            return Some(self.file().map_or(Origin::Override, |file| Origin::File(file.to_path_buf())));
        }
        // Where a section that held the key is now null, the key is gone.
        let nearest = (0..path.len()).filter_map(|depth| self.tree.get(&path[..depth])).next_back();
        nearest.filter(|section| !matches!(section, Node::Map(_))).map(|_| Origin::Default)
    }

    /// The whole key, if the layer is an override.
    pub(super) fn override_key(&self) -> Option<&[Step]> {
        match &self.source {
            Source::File { .. } => None,
            Source::Override { key, .. } => Some(key),
        }
    }

    /// What to call the layer.
    pub(super) fn name(&self) -> String {
        match &self.source {
            Source::File { path, .. } => path.display().to_string(),
            Source::Override { written, .. } => format!("override `{}`", clip(written)),
        }
    }

    /// Where in the layer a failure is: `FILE:LINE:COLUMN`, or the override.
    pub(super) fn place(&self, failure: &Failure) -> String {
        let target = match failure.fault {
            Fault::UnknownKey { .. } | Fault::MissingKey(_) => Target::Key,
            _ => Target::Value,
        };
        match &self.source {
            Source::File { path, text } => at(path, locate(text, &failure.path, target)),
            Source::Override { .. } => self.name(),
        }
    }
}

/// Reads a file and all that it extends, directly or not, each once: bases first.
pub(super) fn read_files(path: &Path) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    read_file(path, &path.display().to_string(), &mut Vec::new(), &mut Vec::new(), &mut layers)?;
    Ok(layers)
}

/// Reads one file after its bases. `named_at` is where its path was written, `chain` are the files that
/// lead to it and `known` the files that have been read, by their canonical paths.
fn read_file(
    path: &Path,
    named_at: &str,
    chain: &mut Vec<PathBuf>,
    known: &mut Vec<PathBuf>,
    layers: &mut Vec<Layer>,
) -> Result<()> {
    let unreadable = |error| Error::Config(format!("{named_at}: cannot read {}: {error}", path.display()));
    let canonical = path.canonicalize().map_err(unreadable)?;
    check_chain(&canonical, path, named_at, chain)?;
    if known.contains(&canonical) {
        return Ok(());
    }
    let text = read_text(path, unreadable)?;
    let mut tree = parse(path, &text)?;
    chain.push(canonical.clone());
    for (base, place) in take_extends(&mut tree, path, &text)? {
        read_file(&base, &place, chain, known, layers)?;
    }
    chain.pop();
    known.push(canonical);
    layers.push(Layer { tree, source: Source::File { path: path.to_path_buf(), text } });
    Ok(())
}

/// Refuses a file that extends itself through others, and chains too long to be meant.
fn check_chain(canonical: &Path, path: &Path, named_at: &str, chain: &[PathBuf]) -> Result<()> {
    let what = match chain.iter().any(|above| above == canonical) {
        true => "a file cannot extend itself",
        false if chain.len() >= MAX_DEPTH => "too many files extend each other",
        false => return Ok(()),
    };
    let chain: Vec<String> = chain.iter().map(|file| file.display().to_string()).collect();
    Err(Error::Config(format!("{named_at}: {EXTENDS}: {what}: {} → {}", chain.join(" → "), path.display())))
}

/// The text of a file, of which no more is read than a configuration may have.
fn read_text(path: &Path, unreadable: impl Fn(std::io::Error) -> Error) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(&unreadable)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(&unreadable)?;
    if bytes.len() > MAX_BYTES {
        let what = "larger than 1 MiB: is this another kind of file?";
        return Err(Error::Config(format!("{}: {what}", at(path, None))));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        foreign(path, &String::from_utf8_lossy(good), "not UTF-8 text")
    })?;
    match text.find(|character: char| character.is_control() && !"\t\n\r\u{85}".contains(character)) {
        Some(position) => Err(foreign(path, &text[..position], "a control character")),
        None => Ok(text),
    }
}

/// Refuses a file for what comes after its `good` beginning.
fn foreign(path: &Path, good: &str, what: &str) -> Error {
    let line = 1 + good.matches('\n').count();
    let column = 1 + good.chars().rev().take_while(|&character| character != '\n').count();
    Error::Config(format!("{}: {what}: is this another kind of file?", at(path, Some((line, column)))))
}

/// The tree of a file; an empty file is an empty map.
fn parse(path: &Path, text: &str) -> Result<Node> {
    check_cost(text).map_err(|what| Error::Config(format!("{}: {what}", at(path, None))))?;
    let tree = Node::parse(text).map_err(|error| {
        let place = error.location().map(|place| (place.line(), place.column()));
        Error::Config(format!("{}: {}{}", at(path, place), without_place(&error), tab_hint(text, place)))
    })?;
    match tree {
        Node::Null => Ok(Node::default()),
        Node::Map(_) => Ok(tree),
        _ => Err(Error::Config(format!("{}: expected keys with values, such as `seed: 1`", at(path, Some((1, 1)))))),
    }
}

/// Refuses what would take the parser more than linear time.
fn check_cost(text: &str) -> Result<(), &'static str> {
    let brackets = text.bytes().filter(|byte| b"[{".contains(byte)).count();
    if brackets.saturating_mul(text.len()) > MAX_BRACKET_WORK {
        return Err("too many brackets for a file of this size: write lists as indented lines");
    }
    if text.contains("%TAG") {
        return Err("`%TAG` is not supported");
    }
    Ok(())
}

/// The parser's words without the place, which stands in front of them.
fn without_place(error: &serde_yaml_ng::Error) -> String {
    let text = clip(&error.to_string()).replace("repetition limit exceeded", ALIAS_LIMIT);
    match error.location() {
        Some(place) => text.replace(&format!(" at line {} column {}", place.line(), place.column()), ""),
        None => text,
    }
}

/// What to do about the most common mistake that the parser words badly.
fn tab_hint(text: &str, place: Option<(usize, usize)>) -> &'static str {
    let line = place.and_then(|(line, _)| text.lines().nth(line - 1)).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') { "; indent with spaces, not with tabs" } else { "" }
}

/// Removes `extends` from a tree. Each file it names comes with the place of its name.
fn take_extends(tree: &mut Node, path: &Path, text: &str) -> Result<Vec<(PathBuf, String)>> {
    let Node::Map(map) = tree else { return Ok(Vec::new()) };
    let Some(value) = map.remove(EXTENDS) else { return Ok(Vec::new()) };
    let root = vec![Step::Key(EXTENDS.to_owned())];
    let names: Vec<(Vec<Step>, &Node)> = match &value {
        Node::List(_) => {
            value.children().into_iter().map(|(step, node)| ([&root[..], &[step]].concat(), node)).collect()
        }
        _ => vec![(root, &value)],
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let base = |(steps, node): (Vec<Step>, &Node)| {
        let place = at(path, locate(text, &steps, Target::Value));
        match node {
            Node::Text(name) => Ok((folder.join(name), place)),
            _ => Err(Error::Config(format!("{place}: {}: expected the path of a file", dotted(&steps)))),
        }
    };
    names.into_iter().map(base).collect()
}

/// `FILE:LINE:COLUMN`; what has no place of its own is at the file's beginning.
fn at(path: &Path, place: Option<(usize, usize)>) -> String {
    let (line, column) = place.unwrap_or((1, 1));
    format!("{}:{line}:{column}", path.display())
}
