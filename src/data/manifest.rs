//! `manifest.json`: what a data set consists of, and where it comes from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::schema::{BOND_ORDERS, Kind, ROWS_PER_BATCH, SCHEMA_VERSION};
use crate::bio::FoldClasses;
use crate::chem::features::{Feature, vocabulary};
use crate::files::hex;
use crate::{Error, Result};

/// The manifest's name in the data set's folder.
pub const MANIFEST: &str = "manifest.json";
/// No manifest is larger; a file that is does not get read.
const MAX_BYTES: u64 = 256 << 20;

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What the samples are.
    #[serde(default)]
    pub kind: Kind,
    /// The data set's name.
    pub name: String,
    /// The unit of each physical column.
    pub units: BTreeMap<String, String>,
    /// [`ROWS_PER_BATCH`].
    pub rows_per_batch: usize,
    /// The names of the bond orders, in the order of their codes; of molecules only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bond_orders: Vec<String>,
    /// The vocabulary of the atoms' features, which follow from the stored graphs: that of
    /// [`vocabulary`]. Of molecules only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
    /// The atomic numbers that occur, ascending; of molecules only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<u8>,
    /// The fold classes that occur; of chains with fold labels only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold_classes: Option<FoldClasses>,
    /// The shards of each split, in the order of their samples.
    pub splits: BTreeMap<String, Vec<ShardEntry>>,
    /// How many molecules, conformers or chains of each split were left out, by reason.
    pub dropped: BTreeMap<String, BTreeMap<String, u64>>,
    /// What the data set was made from: names and hashes.
    pub source: serde_json::Value,
    /// How it was made: the command, versions of the tools.
    pub created: serde_json::Value,
}

/// One shard's line in the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Its name in the data set's folder.
    pub file: String,
    /// Rows: molecules or chains.
    #[serde(alias = "molecules")]
    pub samples: usize,
    /// Conformers of all rows; a chain has one.
    pub conformers: u64,
    /// Points of all rows: atoms (not times conformers) or residues.
    #[serde(alias = "atoms")]
    pub points: u64,
    /// Points of the largest row.
    #[serde(alias = "max_atoms")]
    pub max_points: usize,
    /// The file's size.
    pub bytes: u64,
    /// The file's SHA-256 in lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads the manifest of the data set in `dir`.
    ///
    /// # Errors
    /// [`Error::Data`] when it is missing, damaged, or of a form that this build does not read.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let damaged = |what: String| Error::Data(format!("{}: {what}", path.display()));
        let size = std::fs::metadata(&path).map_err(|e| damaged(format!("{e}; is this a qsd data set?")))?.len();
        if size > MAX_BYTES {
            return Err(damaged(format!("{size} bytes, but no manifest exceeds {MAX_BYTES}")));
        }
        let text = std::fs::read(&path).map_err(Error::io(&path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// SHA-256 of what defines the data: the form and, split by split, each shard's checksum and rows. Names
    /// of folders, the way the data set was made, and the place it lies at do not enter.
    pub fn hash(&self) -> String {
        let kind = match self.kind {
            Kind::Molecules => "",
            Kind::Chains => " chains",
        };
        let mut text = format!("qsd {} {}{kind}\n", self.schema_version, self.rows_per_batch);
        for (split, entries) in &self.splits {
            for entry in entries {
                text += &format!("{split} {} {}\n", entry.sha256, entry.samples);
            }
        }
        hex(&Sha256::digest(text.as_bytes()))
    }

    fn check(&self) -> Result<(), String> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(format!("schema version {}, this build reads {SCHEMA_VERSION}", self.schema_version));
        }
        if self.rows_per_batch != ROWS_PER_BATCH {
            return Err(format!("rows_per_batch {}, expected {ROWS_PER_BATCH}", self.rows_per_batch));
        }
        self.splits.values().flatten().try_for_each(ShardEntry::check)?;
        match self.kind {
            Kind::Molecules => self.check_chemistry(),
            Kind::Chains => match self.fold_classes.as_ref().is_none_or(FoldClasses::is_sorted) {
                true => Ok(()),
                false => Err("fold_classes: the codes of each level must ascend".into()),
            },
        }
    }

    fn check_chemistry(&self) -> Result<(), String> {
        if !self.bond_orders.iter().eq(BOND_ORDERS.iter().map(|(name, _)| name)) {
            return Err(format!("bond_orders {:?}, expected {:?}", self.bond_orders, BOND_ORDERS.map(|(n, _)| n)));
        }
        let expected = vocabulary();
        if self.features != expected {
            let differing = |k: &usize| self.features.get(*k) != expected.get(*k);
            let k = (0..).find(differing).unwrap_or(0);
            let (listed, expected) = (self.features.get(k), expected.get(k));
            return Err(format!("feature {k} is {listed:?}, this build computes {expected:?}"));
        }
        Ok(())
    }
}

impl ShardEntry {
    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !self.file.chars().all(plain) || self.file.starts_with('.') || self.file.is_empty() {
            return Err(format!("shard name {:?}: letters, digits, '-', '_', '.' only, no leading '.'", self.file));
        }
        // Each row takes more than one byte, so this caps whatever is allocated by their number.
        if self.samples as u64 > self.bytes {
            return Err(format!("{}: {} samples in {} bytes", self.file, self.samples, self.bytes));
        }
        Ok(())
    }
}
