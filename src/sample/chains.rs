//! The chains to sample.

use super::Count;
use crate::bio::{Fold, Format};
use crate::data::{Condition, Points, Split};
use crate::train::SavedState;
use crate::{Error, Result};

/// The longest chain that is drawn: memory grows with the square of the length.
const MAX_LENGTH: usize = 10_000;

/// What backbones are told, and the form they are written in.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// CATH code of the fold class, such as `1`, `1.10` or `1.10.8`; `None`: any fold.
    pub cath: Option<String>,
    /// The forms of the files that are written.
    pub formats: Vec<Format>,
}

/// Chains that a checkpoint can sample.
#[derive(Clone, Debug)]
pub(super) struct Chains {
    sources: Vec<Source>,
    /// Samples of each.
    samples: usize,
    fold: Fold,
    options: ChainOptions,
    /// Why chains of a data set were left out.
    pub skipped: Vec<String>,
}

/// A length to draw.
#[derive(Clone, Debug)]
struct Source {
    /// What its samples' names begin with.
    name: String,
    /// What their randomness is keyed by.
    key: u64,
    /// Residues.
    length: usize,
}

impl Chains {
    /// Checks lengths against what was trained.
    ///
    /// # Errors
    /// [`Error::Config`] when a length is impossible or the fold class is not one that the network was taught;
    /// [`Error::Checkpoint`] when it was trained on molecules.
    pub fn of_lengths(lengths: &[usize], saved: &SavedState, count: Count, options: &ChainOptions) -> Result<Self> {
        if !saved.chains {
            return Err(Error::Checkpoint(
                "the checkpoint was trained on molecules: give --input FILE with molecules, not --length".into(),
            ));
        }
        if let Some(length) = lengths.iter().find(|length| !(1..=MAX_LENGTH).contains(*length)) {
            return Err(Error::Config(format!("--length {length}: expected 1 to {MAX_LENGTH} residues")));
        }
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let length = twice[0];
            return Err(Error::Config(format!("--length {length} is given twice; ask for more with --num")));
        }
        let source = |&length: &usize| Source { name: format!("length-{length}"), key: length as u64, length };
        Chains::new(lengths.iter().map(source).collect(), Vec::new(), saved, count, options)
    }

    /// The lengths of the first `limit` chains of a split. Longer ones than can be drawn are left out and listed.
    ///
    /// # Errors
    /// [`Error::Data`] when the split is damaged or has no chain that can be drawn; [`Error::Config`] when the fold class
    /// is not one that the network was taught.
    pub fn of_split(
        split: &Split,
        limit: usize,
        saved: &SavedState,
        count: Count,
        options: &ChainOptions,
    ) -> Result<Self> {
        let (mut sources, mut skipped) = (Vec::new(), Vec::new());
        for index in 0..split.len().min(limit) {
            match split.num_points(index)? {
                length @ 1..=MAX_LENGTH => {
                    let name = format!("record-{index:06}-length-{length}");
                    sources.push(Source { name, key: index as u64, length });
                }
                length => {
                    skipped.push(format!(
                        "split {}: record {index}: {length} residues; expected 1 to {MAX_LENGTH}",
                        split.name()
                    ));
                }
            }
        }
        if sources.is_empty() {
            return Err(Error::Data(format!("split {}: no chain that can be sampled", split.name())));
        }
        Chains::new(sources, skipped, saved, count, options)
    }

    fn new(
        sources: Vec<Source>,
        skipped: Vec<String>,
        saved: &SavedState,
        count: Count,
        options: &ChainOptions,
    ) -> Result<Self> {
        let fold = options.cath.as_ref().map_or(Ok(Fold::default()), |code| fold(code, saved))?;
        Ok(Chains { sources, samples: count.of(1), fold, options: options.clone(), skipped })
    }

    /// How many lengths there are.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// The `k`-th length.
    pub fn length(&self, k: usize) -> usize {
        self.sources[k].length
    }

    /// What the randomness of the `k`-th length's samples is keyed by.
    pub fn key(&self, k: usize) -> u64 {
        self.sources[k].key
    }

    /// How many samples of each length are drawn.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The forms of the files that are written.
    pub fn formats(&self) -> &[Format] {
        &self.options.formats
    }

    /// The name of a sample, without a file's ending.
    pub fn name(&self, k: usize, number: usize) -> String {
        format!("{}-{number:04}", self.sources[k].name)
    }

    /// The names of all samples.
    pub fn names(&self) -> impl Iterator<Item = String> {
        (0..self.len()).flat_map(move |k| (0..self.samples).map(move |number| self.name(k, number)))
    }

    /// What the network is told about chains of these lengths (places in the list).
    pub fn condition(&self, places: impl Iterator<Item = usize>) -> Condition {
        let lengths: Vec<usize> = places.map(|k| self.length(k)).collect();
        let mut condition = Condition::from_lengths(&lengths);
        if let Points::Residues(residues) = &mut condition.points {
            residues.folds.fill(self.fold);
        }
        condition
    }

    /// What the file of a sample says of it, short enough for a title: name, fold class, seed, the weights' hash.
    pub fn title(&self, name: &str, seed: u64, weights: &str) -> String {
        let cath = self.options.cath.iter().map(|code| format!(" cath {code}")).collect::<String>();
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
