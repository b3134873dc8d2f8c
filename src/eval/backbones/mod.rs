//! Protein backbones (Cα traces): geometry, secondary structure, diversity, novelty, designability.
//!
//! Each measure is a function of positions ([`shape`], [`secondary_structure`]); [`main`] is what `qsd-eval backbones`
//! does with them: the chains of a folder, beside those of a data set or of another folder.

mod chains;
pub mod designability;
mod report;
mod scores;
mod shape;
mod structure;
mod summary;
pub mod tm;
mod variety;

use std::path::PathBuf;

pub use chains::{Backbone, Set, Unreadable};
pub use report::{Compared, Group, Report};
pub use scores::DESIGNABLE;
pub use shape::{BREAK, CLASH, CLOSE, Shape, TRANS, shape};
pub use structure::{Structure, secondary_structure, share};
pub use summary::Summary;
pub use variety::{Diversity, Known, Nearest, SAME_FOLD};

use crate::Result;
use variety::Pairs;

/// What `qsd-eval backbones` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder of structure files, or one of them.
    pub samples: PathBuf,
    /// What the samples are compared with.
    pub reference: Option<Reference>,
    /// The folder for `backbones.csv`, `reference.csv`, `summary.json` and `report.md`.
    pub out: Option<PathBuf>,
    /// Whether these may be replaced.
    pub overwrite: bool,
    /// Whether samples are compared with each other, all pairs of them.
    pub diversity: bool,
    /// A folder of structure files, or a data set, in which each sample's nearest chain is looked for.
    pub novelty: Option<PathBuf>,
    /// The results of `qsd-eval designability`.
    pub designability: Option<PathBuf>,
}

/// What samples are compared with.
#[derive(Clone, Debug)]
pub enum Reference {
    /// A split of a data set.
    Data {
        /// The data set's folder.
        path: PathBuf,
        /// The split.
        split: String,
    },
    /// A folder of structure files, or one of them.
    Folder(PathBuf),
}

/// Measures the chains, compares them, writes the files that are asked for.
///
/// Files that cannot be read are listed in the report ([`Report::complaint`]); the others are judged without them.
///
/// # Errors
/// [`crate::Error::Config`] when a file to write exists or there are too many pairs of samples, [`crate::Error::Data`] when there is nothing to judge,
/// [`crate::Error::Io`].
pub fn main(options: &Options) -> Result<Report> {
    if let Some(out) = &options.out {
        report::check_out(out, options)?;
    }
    let mut samples = Set::read("samples", &options.samples)?;
    if let Some(path) = &options.designability {
        scores::join(path, &mut samples.chains)?;
    }
    let reference = match &options.reference {
        Some(Reference::Data { path, split }) => Some(Set::of_data(path, split)?),
        Some(Reference::Folder(path)) => Some(Set::read("reference", path)?),
        None => None,
    };
    let pairs = if options.diversity { Some(Pairs::compare(&mut samples)?) } else { None };
    let known = match &options.novelty {
        Some(path) => Some(variety::find_nearest(&mut samples, path)?),
        None => None,
    };
    let report = Report::new(samples, reference.map(Set::without_positions), pairs.as_ref(), known);
    if let Some(out) = &options.out {
        report.save(out)?;
    }
    Ok(report)
}
