//! What a sample shows of a chain: which part of it, and how much of its fold label.

use std::ops::Range;
use std::sync::Arc;

use rand::Rng;

use super::chain_record::ChainRecord;
use super::config::{DataConfig, LongChains};
use super::dataset::Dataset;
use super::order::below;
use super::schema::Kind;
use crate::bio::{Fold, FoldClasses};
use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// How chains are shown.
#[derive(Clone, Debug)]
pub(super) struct Showing {
    /// The most residues shown.
    limit: Option<usize>,
    /// The probability of each level, and the classes; `None` when labels are never told.
    folds: Option<([f64; 4], Arc<FoldClasses>)>,
}

impl Showing {
    /// How the configuration wants it.
    ///
    /// # Errors
    /// [`Error::Config`] when it asks for what the data do not have.
    pub fn new(dataset: &Dataset, config: &DataConfig) -> Result<Self> {
        config.validate()?;
        let name = &dataset.manifest().name;
        if dataset.kind() == Kind::Molecules && config.long_chains == LongChains::Crop {
            return Err(Error::Config(format!(
                "data.long_chains crop: {name} holds molecules, which cannot be cropped"
            )));
        }
        let limit = config.max_points.filter(|_| config.long_chains == LongChains::Crop);
        let classes = match (config.tells_folds(), dataset.fold_classes()) {
            (false, _) => None,
            (true, Some(classes)) => Some(Arc::new(classes.clone())),
            (true, None) => {
                let levels = config.fold_levels;
                return Err(Error::Config(format!(
                    "data.fold_levels {levels:?}: {name} has no fold labels; make it by qsd-data protein --labels, or \
                     set [1, 0, 0, 0]"
                )));
            }
        };
        Ok(Showing { limit, folds: classes.map(|classes| (config.fold_levels, classes)) })
    }

    /// What a training sample shows: a function of (seed, step, id).
    pub fn in_training(&self, seed: u64, step: u64, id: u64, record: &ChainRecord) -> (Range<usize>, Fold) {
        let n = record.num_residues();
        let shown = self.shown(n);
        let start = match n - shown {
            0 => 0,
            room => below(&mut stream(seed, Purpose::Crop, step, id), room as u64 + 1) as usize,
        };
        (start..start + shown, self.fold(seed, step, id, record))
    }

    /// What is shown in validation: the middle. Labels are drawn as in training, always with the same outcome.
    pub fn in_validation(&self, id: u64, record: &ChainRecord) -> (Range<usize>, Fold) {
        let n = record.num_residues();
        let shown = self.shown(n);
        let start = (n - shown) / 2;
        (start..start + shown, self.fold(0, 0, id, record))
    }

    fn shown(&self, n: usize) -> usize {
        self.limit.map_or(n, |limit| n.min(limit))
    }

    /// One label, each as likely, down to a level drawn by the probabilities.
    fn fold(&self, seed: u64, step: u64, id: u64, record: &ChainRecord) -> Fold {
        let Some((levels, classes)) = &self.folds else { return Fold::default() };
        let codes = record.folds();
        if codes.is_empty() {
            return Fold::default();
        }
        let mut rng = stream(seed, Purpose::Fold, step, id);
        let code = codes[below(&mut rng, codes.len() as u64) as usize];
        let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let told = level_of(levels, uniform);
        let mut fold = classes.fold(code);
        fold[told..].fill(None);
        fold
    }
}

/// How many levels are told: the first whose cumulative probability exceeds `uniform`.
fn level_of(levels: &[f64; 4], uniform: f64) -> usize {
    let mut sum = 0.0;
    for (told, probability) in levels[..3].iter().enumerate() {
        sum += probability;
        if uniform < sum {
            return told;
        }
    }
    3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_their_probabilities() {
        let levels = [0.5, 0.1, 0.15, 0.25];
        let told: Vec<usize> = [0.0, 0.499, 0.5, 0.599, 0.6, 0.749, 0.75, 0.999].map(|u| level_of(&levels, u)).into();
        assert_eq!(told, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(level_of(&[1.0, 0.0, 0.0, 0.0], 1.0 - f64::EPSILON), 0);
        assert_eq!(level_of(&[0.0, 0.0, 0.0, 1.0], 0.0), 3);
    }
}
