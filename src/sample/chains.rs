//! The chains to sample.

use crate::bio::{Fold, Format};
use crate::data::{Condition, Points};
use crate::train::SavedState;
use crate::{Error, Result};

/// The longest chain that is drawn: memory grows with the square of the length.
const MAX_LENGTH: usize = 10_000;

/// Which backbones `qsd-sample` is asked for.
#[derive(Clone, Debug)]
pub struct ChainRequest {
    /// Numbers of residues.
    pub lengths: Vec<usize>,
    /// CATH code of the fold class, such as `1`, `1.10` or `1.10.8`; `None`: any fold.
    pub cath: Option<String>,
    /// The forms of the files that are written.
    pub formats: Vec<Format>,
}

/// Chains that a checkpoint can sample.
#[derive(Clone, Debug)]
pub(super) struct Chains {
    request: ChainRequest,
    fold: Fold,
}

impl Chains {
    /// Checks a request against what was trained.
    ///
    /// # Errors
    /// [`Error::Config`] when a length is impossible or the fold class is not one that the network was taught;
    /// [`Error::Checkpoint`] when it was trained on molecules.
    pub(super) fn new(request: &ChainRequest, saved: &SavedState) -> Result<Self> {
        if !saved.chains {
            return Err(Error::Checkpoint(
                "the checkpoint was trained on molecules: give --input FILE with molecules, not --length".into(),
            ));
        }
        if let Some(length) = request.lengths.iter().find(|length| !(1..=MAX_LENGTH).contains(*length)) {
            return Err(Error::Config(format!("--length {length}: expected 1 to {MAX_LENGTH} residues")));
        }
        let mut sorted = request.lengths.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let length = twice[0];
            return Err(Error::Config(format!("--length {length} is given twice; ask for more with --num")));
        }
        let fold = request.cath.as_ref().map_or(Ok(Fold::default()), |code| fold(code, saved))?;
        Ok(Chains { request: request.clone(), fold })
    }

    /// How many lengths there are.
    pub(super) fn len(&self) -> usize {
        self.request.lengths.len()
    }

    /// The `k`-th length.
    pub(super) fn length(&self, k: usize) -> usize {
        self.request.lengths[k]
    }

    /// The forms of the files that are written.
    pub(super) fn formats(&self) -> &[Format] {
        &self.request.formats
    }

    /// The name of a sample, without a file's ending.
    pub(super) fn name(&self, k: usize, number: usize) -> String {
        format!("length-{}-{number:04}", self.length(k))
    }

    /// What the network is told about chains of these lengths (places in the list).
    pub(super) fn condition(&self, places: impl Iterator<Item = usize>) -> Condition {
        let lengths: Vec<usize> = places.map(|k| self.length(k)).collect();
        let mut condition = Condition::from_lengths(&lengths);
        if let Points::Residues(residues) = &mut condition.points {
            residues.folds.fill(self.fold);
        }
        condition
    }

    /// What the file of a sample says of it, short enough for a title: name, fold class, seed, the weights' hash.
    pub(super) fn title(&self, name: &str, seed: u64, weights: &str) -> String {
        let cath = self.request.cath.iter().map(|code| format!(" cath {code}")).collect::<String>();
        format!("{name}{cath} seed {seed} weights {weights:.16}")
    }
}

/// The fold class of a code; every level that it names must be known.
fn fold(code: &str, saved: &SavedState) -> Result<Fold> {
    let refuse = |what: String| Err(Error::Config(format!("--cath {code}: {what}")));
    let Some(classes) = &saved.folds else {
        return refuse("the network was trained without fold classes (data.fold_levels)".into());
    };
    let levels = code.split('.').count();
    let fold = classes.fold(code);
    let known = fold.iter().flatten().count();
    if !(1..=3).contains(&levels) || known < levels {
        let level = &classes.levels[known.min(2)];
        let some: Vec<&str> = level.iter().take(8).map(String::as_str).collect();
        return refuse(format!("unknown; classes of level {} are {} …", known.min(2) + 1, some.join(", ")));
    }
    Ok(fold)
}
