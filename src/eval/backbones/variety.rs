//! How alike samples are: to each other, and to chains that are known.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::chains::{Backbone, Set, Unreadable, structure_files};
use super::tm::{self, Library, Matrix};
use crate::cli::Progress;
use crate::data::Dataset;
use crate::geometry::Point;
use crate::{Error, Result};

/// Chains whose TM-score is at least this share a fold, and may be of one cluster.
pub const SAME_FOLD: f64 = 0.5;
/// More samples than this are not compared with each other: it would take days, and gigabytes.
pub const MOST_PAIRED: usize = 10_000;
/// The split of a data set that novelty is measured against: what was learnt.
const LEARNT: &str = "train";
/// Least time between two lines of progress.
const EVERY: Duration = Duration::from_secs(10);

/// The TM-scores of all pairs of samples.
pub(super) struct Pairs {
    /// The places of the chains compared, among the samples.
    places: Vec<usize>,
    matrix: Matrix,
}

/// How alike some samples are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diversity {
    /// How many were compared.
    pub chains: usize,
    /// Mean TM-score of the pairs of chains of equal length, averaged over lengths; NaN where no length has two chains.
    pub mean_tm: f64,
    /// Mean TM-score of all pairs, of whatever lengths.
    pub mean_tm_all_pairs: f64,
    /// Number of clusters of chains with a TM-score of at least 0.5 to the cluster's representative.
    pub clusters: usize,
}

/// What novelty was measured against.
#[derive(Clone, Debug, Serialize)]
pub struct Known {
    /// The folder, or the data set and its split.
    pub name: String,
    /// How many chains it has that could be compared.
    pub chains: usize,
    /// What could not be read or compared.
    pub left_out: Vec<Unreadable>,
}

/// What a sample is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// The known chain.
    pub name: String,
    /// TM-score, by the sample's length.
    pub tm: f64,
}

impl Pairs {
    /// Aligns all pairs of samples, and tells each its cluster and its mean TM-score with the others of its length.
    ///
    /// # Errors
    /// [`Error::Config`] when there are more samples than [`MOST_PAIRED`].
    pub fn compare(samples: &mut Set) -> Result<Self> {
        let places = comparable(samples);
        let chains: Vec<&[Point]> = places.iter().map(|&place| &samples.chains[place].positions[..]).collect();
        if chains.len() > MOST_PAIRED {
            let n = chains.len();
            let what = format!("{n} samples have {} pairs, too many to compare; give --no-diversity", n * (n - 1) / 2);
            return Err(Error::Config(what));
        }
        let n = chains.len() as u64;
        let progress = Shared::new(n * n.saturating_sub(1) / 2, "pairs of samples aligned");
        let matrix = tm::pairwise(&chains, &|more| progress.add(more as u64))?;
        progress.finish();
        let pairs = Pairs { places, matrix };
        pairs.tell(&mut samples.chains);
        Ok(pairs)
    }

    fn tell(&self, chains: &mut [Backbone]) {
        for (k, cluster) in self.matrix.clusters(SAME_FOLD).into_iter().enumerate() {
            cluster.members.into_iter().for_each(|member| chains[self.places[member]].cluster = Some(k + 1));
        }
        for (i, &place) in self.places.iter().enumerate() {
            let alike = |&j: &usize| j != i && self.matrix.lengths[j] == self.matrix.lengths[i];
            let others: Vec<f64> = (0..self.places.len()).filter(alike).map(|j| self.matrix.similarity(i, j)).collect();
            let mean = others.iter().sum::<f64>() / others.len() as f64;
            chains[place].mean_tm = (!others.is_empty()).then_some(mean);
        }
    }

    /// How alike the samples are that `belongs` takes, by their places.
    pub fn diversity(&self, belongs: impl Fn(usize) -> bool) -> Diversity {
        let taken: Vec<usize> = (0..self.places.len()).filter(|&i| belongs(self.places[i])).collect();
        let row = |&i: &usize| taken.iter().map(move |&j| self.matrix.by_length_of(i, j));
        let matrix = Matrix {
            lengths: taken.iter().map(|&i| self.matrix.lengths[i]).collect(),
            values: taken.iter().flat_map(row).collect(),
        };
        let found = matrix.diversity();
        Diversity {
            chains: taken.len(),
            mean_tm: found.mean_over_lengths,
            mean_tm_all_pairs: found.mean_over_pairs,
            clusters: matrix.clusters(SAME_FOLD).len(),
        }
    }
}

/// Tells each sample the known chain that it is most like: of the structure files of a folder, or of what a data set
/// has to learn from.
///
/// # Errors
/// [`Error::Data`] when nothing is known; [`Error::Io`].
pub(super) fn find_nearest(samples: &mut Set, known: &Path) -> Result<Known> {
    let (name, library) = match known.join("manifest.json").is_file() {
        true => {
            let dataset = Dataset::open(known, false)?;
            (format!("{}, {LEARNT}", dataset.manifest().name), Library::Split(dataset.split(LEARNT)?))
        }
        false => (known.display().to_string(), Library::Files(structure_files(known)?.files)),
    };
    let places = comparable(samples);
    let chains: Vec<&[Point]> = places.iter().map(|&place| &samples.chains[place].positions[..]).collect();
    let progress = Shared::new(library.len() as u64, "known files or chains compared");
    let found = tm::novelty(&chains, &library, &|| progress.add(1))?;
    progress.finish();
    for (place, nearest) in places.into_iter().zip(found.nearest) {
        samples.chains[place].nearest = Some(Nearest { name: nearest.name, tm: nearest.tm });
    }
    let left_out = found.left_out.into_iter().map(|left| Unreadable { file: left.name, reason: left.reason }).collect();
    Ok(Known { name, chains: found.known, left_out })
}

/// The places of the samples that have TM-scores; the others are listed.
fn comparable(samples: &mut Set) -> Vec<usize> {
    let mut places = Vec::new();
    samples.incomparable.clear();
    for (place, chain) in samples.chains.iter().enumerate() {
        match tm::check(&chain.positions) {
            Ok(()) => places.push(place),
            Err(reason) => {
                let file = format!("{} {}", chain.file, chain.chain).trim_end().to_string();
                samples.incomparable.push(Unreadable { file, reason });
            }
        }
    }
    places
}

/// Progress that several threads report to.
struct Shared {
    done: AtomicU64,
    shown: Mutex<Progress>,
    what: &'static str,
}

impl Shared {
    fn new(total: u64, what: &'static str) -> Self {
        let progress = if total == 0 { Progress::silent() } else { Progress::stderr(0, total, EVERY) };
        Shared { done: AtomicU64::new(0), shown: Mutex::new(progress), what }
    }

    fn add(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        // Whoever finds another thread at it need not wait: the next one tells.
        if let Ok(mut progress) = self.shown.try_lock() {
            progress.update(done, self.what);
        }
    }

    fn finish(self) {
        if let Ok(mut progress) = self.shown.into_inner() {
            progress.finish(self.done.into_inner(), self.what);
        }
    }
}
