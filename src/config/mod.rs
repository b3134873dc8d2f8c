//! Configuration: YAML files that extend each other, overrides from the command line, and errors that name
//! the line, the key and the nearest key that exists. This room knows no section: a program brings its own
//! type `T`, made of structs marked `#[serde(deny_unknown_fields, default)]`.
//!
//! [`load`] lays one tree of values over another: first the files named under `extends`, then the file
//! itself, then the overrides. Maps are merged key by key; scalars, lists and null replace what was there.
//! The tree is checked against `T` after every file, so a mistake is reported where it was written even if a
//! later file would have replaced it.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Default)]
//! #[serde(deny_unknown_fields, default)]
//! struct Run {
//!     seed: u64,
//!     train: Train,
//! }
//! #[derive(Serialize, Deserialize, Default)]
//! #[serde(deny_unknown_fields, default)]
//! struct Train {
//!     steps: u64,
//! }
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("run.yaml");
//! std::fs::write(&path, "seed: 7\n")?;
//! let run = qsd::config::load::<Run>(&path, &["train.steps=500".into()])?;
//! assert_eq!((run.value.seed, run.value.train.steps), (7, 500));
//!
//! let error = qsd::config::load::<Run>(&path, &["steps=500".into()]).err().unwrap().to_string();
//! assert_eq!(error, "override `steps=500`: steps: unknown key; did you mean `train.steps`?");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod failure;
mod layer;
mod locate;
mod nearest;
mod node;
mod reader;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{Error, Result};
use failure::Failure;
use layer::Layer;
use node::{Node, Step};

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// Every file that was read, in the order in which they were laid over each other: the bases first, the
    /// file that was asked for last.
    pub files: Vec<PathBuf>,
    /// The files, then the overrides.
    layers: Vec<Layer>,
}

/// Who gave a key its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it has its default.
    Default,
    /// This file, the last of those that set it.
    File(PathBuf),
    /// An override.
    Override,
}

impl<T> Loaded<T> {
    /// Where a plain value was set, by its full key, such as `data.path`.
    pub fn origin(&self, key: &str) -> Origin {
        let path: Vec<Step> = key.split('.').map(|name| Step::Key(name.to_owned())).collect();
        self.layers.iter().rev().find_map(|layer| layer.origin(&path)).unwrap_or(Origin::Default)
    }
}

impl Origin {
    /// The path that a value of this origin means: relative to the file that states it, and in an override or
    /// a default to the current folder.
    pub fn locate(&self, path: &Path) -> PathBuf {
        match self {
            Origin::File(file) => file.parent().unwrap_or(Path::new("")).join(path),
            Origin::Override | Origin::Default => path.to_path_buf(),
        }
    }
}

/// Reads a configuration: the file at `path`, laid over the files it extends, then the `overrides` of the
/// form `a.b=value`, whose value is YAML.
///
/// # Errors
/// [`Error::Config`], as `FILE:LINE:COLUMN: key: what is wrong` or ``override `a.b=v`: key: what is wrong``.
pub fn load<T>(path: impl AsRef<Path>, overrides: &[String]) -> Result<Loaded<T>>
where
    T: Serialize + DeserializeOwned + Default,
{
    let files = layer::read_files(path.as_ref())?;
    let overrides = overrides.iter().map(|text| Layer::from_override(text)).collect::<Result<Vec<_>>>()?;
    let value = resolve(&files, &overrides)?;
    let layers = [files, overrides].concat();
    Ok(Loaded { value, files: layers.iter().filter_map(Layer::file).map(Path::to_path_buf).collect(), layers })
}

/// A configuration with overrides laid over it: for one that does not come from a file of its own, but from
/// `source`, such as a checkpoint.
///
/// # Errors
/// [`Error::Config`], as of [`load`].
pub fn with_overrides<T>(value: &T, source: &Path, overrides: &[String]) -> Result<T>
where
    T: Serialize + DeserializeOwned + Default,
{
    let base = Layer::from_text(source, to_yaml(value)?)?;
    let overrides = overrides.iter().map(|text| Layer::from_override(text)).collect::<Result<Vec<_>>>()?;
    resolve(&[base], &overrides)
}

/// Lays the files, then all overrides, over each other, and reads a `T` from the result.
fn resolve<T>(files: &[Layer], overrides: &[Layer]) -> Result<T>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut merged = Node::default();
    for (index, file) in files.iter().enumerate() {
        merged.lay(&file.tree);
        // A base may leave out what only the whole must say, but nothing it does say may be wrong.
        match reader::read::<T>(&merged) {
            Err(failure) if !failure.is_missing_key() => return Err(explain::<T>(&failure, &files[..=index])),
            _ => {}
        }
    }
    // Overrides are read as one, so that their order does not matter.
    overrides.iter().for_each(|layer| merged.lay(&layer.tree));
    reader::read(&merged).map_err(|failure| {
        let layers: Vec<Layer> = files.iter().chain(overrides).cloned().collect();
        explain::<T>(&failure, &layers)
    })
}

/// Finds the layer that holds the mistake, the last one to set the key, and words the error.
fn explain<T: Serialize + Default>(failure: &Failure, layers: &[Layer]) -> Error {
    let holds = |layer: &Layer| layer.tree.get(&failure.path).is_some();
    // A key that nobody gives is missing in a file, not in an override.
    let file = layers.iter().rposition(|layer| holds(layer) && layer.file().is_some());
    let culprit = file.filter(|_| failure.is_missing_key()).or_else(|| layers.iter().rposition(holds)).unwrap_or(0);
    let mut message = format!("{}: {}", layers[culprit].place(failure), failure.what());
    let known = known_keys(&T::default());
    message.push_str(&nearest::hint(failure, layers[culprit].override_key(), &known));
    if let Some(last) = layers.last().filter(|_| culprit + 1 < layers.len()) {
        message.push_str(&format!(" (once {} is laid over it)", last.name()));
    }
    Error::Config(message)
}

/// The full paths of all keys of a configuration, such as `train.steps`.
fn known_keys<T: Serialize>(value: &T) -> Vec<String> {
    fn walk(prefix: &str, value: &serde_json::Value, keys: &mut Vec<String>) {
        for (key, child) in value.as_object().into_iter().flatten() {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            walk(&path, child, keys);
            keys.push(path);
        }
    }
    let mut keys = Vec::new();
    // A default that has no JSON form offers no suggestions; the error itself stands without them.
    walk("", &serde_json::to_value(value).unwrap_or_default(), &mut keys);
    keys
}

/// The configuration as YAML that [`load`] reads back: every key, in the order in which the structs declare
/// them.
///
/// # Errors
/// [`Error::Config`] if the value has no YAML form, such as a map whose keys are lists.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String> {
    let mut yaml = Vec::new();
    let mut serializer = serde_yaml_ng::Serializer::new(&mut yaml);
    // Variants with content as `name: {...}`, the form the reader knows, and not as YAML tags.
    serde_yaml_ng::with::singleton_map_recursive::serialize(value, &mut serializer).map_err(no_form)?;
    drop(serializer);
    String::from_utf8(yaml).map_err(no_form)
}

/// The SHA-256 of the configuration's canonical JSON (sorted keys, no spaces) in hexadecimal: equal for equal
/// configurations, whichever files and overrides they came from.
///
/// # Errors
/// [`Error::Config`] if the value has no JSON form.
pub fn hash<T: Serialize>(value: &T) -> Result<String> {
    let mut json = serde_json::to_value(value).map_err(no_form)?;
    json.sort_all_objects();
    Ok(Sha256::digest(json.to_string()).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn no_form(error: impl std::fmt::Display) -> Error {
    Error::Config(format!("the configuration cannot be written: {error}"))
}

#[cfg(test)]
mod tests;
