//! What is drawn, read and checked.

use super::chains::Chains;
use super::input::Input;
use super::{Count, Request, Subject};
use crate::data::{Condition, Dataset, Kind};
use crate::train::SavedState;
use crate::train::drawing::Item;
use crate::{Error, Result};

/// Samples of each molecule of a file, and of each length, unless told otherwise.
const DEFAULT_NUM: usize = 10;
/// Samples for each reference conformer of a data set, unless told otherwise: what the field compares.
const DEFAULT_PER_CONFORMER: usize = 2;

/// What is drawn: sources (molecules, lengths) and how many samples of each.
pub(super) enum Task {
    Molecules(Input),
    Chains(Chains),
}

impl Task {
    /// Reads what the request names, and checks it against what was trained. With `verify` a data set is compared with
    /// its checksums.
    ///
    /// # Errors
    /// [`Error::Data`] when nothing that can be drawn is there; [`Error::Checkpoint`] when the checkpoint was trained on
    /// the other kind of data; [`Error::Config`] when an option does not fit.
    pub fn open(request: &Request, saved: &SavedState, verify: bool) -> Result<Self> {
        let each = request.count.unwrap_or(Count::Each(DEFAULT_NUM));
        match &request.subject {
            Subject::Molecules(path) => Input::read(path, saved, each).map(Task::Molecules),
            Subject::Lengths(lengths) => Chains::of_lengths(lengths, saved, each, &request.chains).map(Task::Chains),
            Subject::Data { path, split, limit } => {
                let dataset = Dataset::open(path, verify)?;
                let split = dataset.split(split)?;
                let (kind, taught) = (dataset.kind(), if saved.chains { Kind::Chains } else { Kind::Molecules });
                if kind != taught {
                    let (kind, taught, path) = (kind.name(), taught.name(), path.display());
                    return Err(Error::Checkpoint(format!(
                        "the checkpoint was trained on {taught}, but {path} holds {kind}; give --data with {taught}"
                    )));
                }
                let limit = limit.unwrap_or(usize::MAX);
                match kind {
                    Kind::Molecules if request.chains.cath.is_some() => {
                        Err(Error::Config("--cath is for chains; the data set holds molecules".into()))
                    }
                    Kind::Molecules => {
                        let count = request.count.unwrap_or(Count::PerConformer(DEFAULT_PER_CONFORMER));
                        Input::of_split(&split, limit, saved, count).map(Task::Molecules)
                    }
                    Kind::Chains => {
                        let count = request.count.unwrap_or(Count::Each(1));
                        Chains::of_split(&split, limit, saved, count, &request.chains).map(Task::Chains)
                    }
                }
            }
        }
    }

    /// Molecules or chains.
    pub fn len(&self) -> usize {
        match self {
            Task::Molecules(input) => input.molecules.len(),
            Task::Chains(chains) => chains.len(),
        }
    }

    /// How many points each sample of a source has.
    pub fn points(&self, source: usize) -> usize {
        match self {
            Task::Molecules(input) => input.molecules[source].molecule.atoms.len(),
            Task::Chains(chains) => chains.length(source),
        }
    }

    /// How many samples of a source are drawn.
    pub fn samples(&self, source: usize) -> usize {
        match self {
            Task::Molecules(input) => input.molecules[source].samples,
            Task::Chains(chains) => chains.samples(),
        }
    }

    /// How many samples are drawn in all.
    pub fn total(&self) -> usize {
        (0..self.len()).map(|source| self.samples(source)).sum()
    }

    /// What the randomness of a source's samples is keyed by.
    pub fn key(&self, source: usize) -> u64 {
        match self {
            Task::Molecules(input) => input.molecules[source].index as u64,
            Task::Chains(chains) => chains.key(source),
        }
    }

    /// What the network is told of a batch.
    pub fn condition(&self, batch: &[Item]) -> Condition {
        match self {
            Task::Molecules(input) => {
                Condition::from_molecules(batch.iter().map(|item| &input.molecules[item.source].molecule))
            }
            Task::Chains(chains) => chains.condition(batch.iter().map(|item| item.source)),
        }
    }

    /// Why records were left out.
    pub fn skipped(&self) -> &[String] {
        match self {
            Task::Molecules(input) => &input.skipped,
            Task::Chains(chains) => &chains.skipped,
        }
    }

    /// What must be the same on all ranks, as a text.
    pub fn digest(&self) -> String {
        match self {
            Task::Molecules(input) => {
                let molecule = |input: &super::input::InputMolecule| {
                    format!("{} {} {:?}", input.index, input.samples, input.molecule)
                };
                input.molecules.iter().map(molecule).collect()
            }
            Task::Chains(chains) => format!("{chains:?}"),
        }
    }

    /// What it is, in a few words.
    pub fn summary(&self) -> String {
        let (sources, total) = (self.len(), self.total());
        match self {
            Task::Molecules(_) => format!("{total} conformers of {sources} molecules"),
            Task::Chains(_) => format!("{total} backbones of {sources} lengths"),
        }
    }
}
