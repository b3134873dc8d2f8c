//! Conformers against reference ensembles: coverage and matching by symmetry-corrected RMSD, and validity of each by itself.
//!
//! The protocol is the field's (GeoMol, torsional diffusion, ET-Flow): of each molecule with K reference conformers the
//! first 2K generated ones are compared, hydrogens left out; reference conformers whose graph is not the corrected one are
//! dropped; means and medians are over molecules.

mod assess;
mod corrected;
mod correspondence;
mod coverage;
mod ensemble;
mod report;
mod rmsd;
mod search;
mod skeleton;
mod superposition;
mod validity;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rayon::prelude::*;
use serde_json::json;

use crate::cli::Progress;
use crate::data::sha256_of;
use crate::files::{refuse_existing, write_whole};
use crate::{Error, Result};
pub use assess::{Assessed, Protocol, Skip};
pub use corrected::Corrected;
pub use coverage::{Coverage, Summary, coverage, thresholds};
pub use ensemble::{Ensemble, References, SdfEnsembles};
pub use report::{FILES, Report};
pub use rmsd::{RmsdMatrix, RmsdOptions, rmsd_matrix, rmsd_matrix_with};
pub use skeleton::Skeleton;
pub use validity::{Checker, Validity};

/// What `qsd-eval conformers` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// SDF of generated conformers.
    pub generated: PathBuf,
    /// Folder of a data set, or an SDF, with the reference conformers.
    pub reference: PathBuf,
    /// The data set's split.
    pub split: String,
    /// A list of molecules with corrected SMILES.
    pub corrected: Option<PathBuf>,
    /// See [`Protocol::per_reference`].
    pub per_reference: usize,
    /// Thresholds that the tables show, Å: multiples of 0.05 up to 3.
    pub shown: Vec<f64>,
    /// Where to write the report; `None`: nowhere.
    pub out: Option<PathBuf>,
    /// Whether files of a report may be replaced.
    pub overwrite: bool,
}

/// Evaluates, and writes the report.
///
/// # Errors
/// When a file cannot be read or written, or no molecule is left to compare: [`Error::Data`] with the reasons.
pub fn main(options: &Options) -> Result<Report> {
    if let Some(other) = options.shown.iter().find(|shown| report::place(**shown).is_none()) {
        return Err(Error::Config(format!("--threshold {other}: expected multiples of 0.05 Å from 0.05 to 3")));
    }
    // First, so that hours of work do not end in a refusal.
    for file in options.out.iter().flat_map(|out| FILES.map(|name| out.join(name))) {
        refuse_existing(&file, options.overwrite)?;
    }
    let corrected = options.corrected.as_deref().map(Corrected::read).transpose()?;
    let references = References::open(&options.reference, &options.split)?;
    let generated = SdfEnsembles::read(&options.generated)?;
    let protocol = Protocol { per_reference: options.per_reference, corrected };
    let (molecules, skipped) = assess_all(&references, &generated, &protocol)?;
    let listed = |list: &Corrected| format!(", the {} molecules of its list", list.len());
    let title = format!(
        "Generated: {}. Reference: {}{}. {} molecules were compared, {} left out; {} reference conformers, {} generated.",
        options.generated.display(),
        options.reference.display(),
        protocol.corrected.as_ref().map(listed).unwrap_or_default(),
        molecules.len(),
        skipped.len(),
        molecules.iter().map(|molecule| molecule.references.0).sum::<usize>(),
        molecules.iter().map(|molecule| molecule.generated.0).sum::<usize>(),
    );
    let reference_sha256 = references.sha256(&options.reference)?;
    let details = json!({
        "per_reference": options.per_reference,
        "split": options.reference.is_dir().then_some(&options.split),
        "corrected_sha256": options.corrected.as_deref().map(sha256_of).transpose()?,
        "generated_sha256": sha256_of(&options.generated)?,
        "reference_sha256": reference_sha256,
    });
    let unreadable = [references.unreadable(), &generated.unreadable].concat();
    let report = Report { title, protocol: details, shown: options.shown.clone(), molecules, skipped, unreadable };
    if report.molecules.is_empty() {
        let reasons =
            report.skipped.iter().take(3).map(|(key, skip)| format!("{key}: {} {}", skip.kind(), skip.detail()));
        return Err(Error::Data(format!(
            "{} and {} have no molecule to compare (molecules go by the property SMILES or the title of a record, which must be \
             the reference's key): {}",
            options.generated.display(),
            options.reference.display(),
            reasons.collect::<Vec<_>>().join("; ")
        )));
    }
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        report.files()?.iter().try_for_each(|(name, content)| write_whole(&out.join(name), content))?;
    }
    Ok(report)
}

type Outcome = (Vec<Assessed>, Vec<(String, Skip)>);

/// All molecules of the reference, in its order.
fn assess_all(references: &References, generated: &SdfEnsembles, protocol: &Protocol) -> Result<Outcome> {
    let by_key: HashMap<&str, &Ensemble> = generated.ensembles.iter().map(|e| (e.key.as_str(), e)).collect();
    let keys = (0..references.len()).into_par_iter().map(|i| references.key(i)).collect::<Result<Vec<_>>>()?;
    let asked: Vec<usize> = (0..keys.len()).filter(|&i| protocol.asks_for(&keys[i])).collect();
    let progress = Mutex::new((0, Progress::stderr(0, asked.len() as u64, Duration::from_secs(10))));
    let assessed = asked.par_iter().map(|&i| {
        let assessed = match by_key.get(keys[i].as_str()) {
            // Most molecules of a large reference have nothing generated: these are not read.
            None => Err(Skip::NoSamples),
            Some(samples) => protocol.assess(&references.ensemble(i)?, samples)?,
        };
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.0 += 1;
        let done = progress.0;
        progress.1.update(done, "");
        Ok((keys[i].clone(), assessed))
    });
    let assessed = assessed.collect::<Result<Vec<_>>>()?;
    let (done, mut progress) = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.finish(done, "");
    let mut molecules = Vec::new();
    let mut skipped = Vec::new();
    for (key, assessed) in assessed {
        match assessed {
            Ok(molecule) => molecules.push(molecule),
            Err(skip) => skipped.push((key, skip)),
        }
    }
    let known: HashSet<&str> = keys.iter().map(String::as_str).collect();
    let unknown = generated.ensembles.iter().filter(|ensemble| !known.contains(ensemble.key.as_str()));
    skipped.extend(unknown.map(|ensemble| (ensemble.key.clone(), Skip::NotInReference)));
    Ok((molecules, skipped))
}
