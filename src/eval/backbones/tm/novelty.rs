//! The nearest of many known chains.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{align, check};
use crate::data::Split;
use crate::files::walk;
use crate::geometry::Point;
use crate::{Error, Result, bio};

/// Known chains, read when they are needed.
#[derive(Clone, Debug)]
pub enum Library {
    /// PDB and mmCIF files, plain or packed by gzip; all chains of each.
    Files(Vec<PathBuf>),
    /// The chains of a data set's split.
    Split(Split),
}

/// What was not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file, or the file and its chain.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The known chain that is most like a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// What it is called: file and chain, or the name in the data set.
    pub name: String,
    /// TM-score divided by the query's length: the lower, the newer is the query.
    pub tm: f64,
    /// TM-score divided by the known chain's length.
    pub tm_known: f64,
    /// Number of aligned residues.
    pub aligned: usize,
    /// Their RMSD in Å.
    pub rmsd: f64,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Novelty {
    /// For each query, in their order.
    pub nearest: Vec<Nearest>,
    /// How many chains are known.
    pub known: usize,
    /// What could not be read or compared, in the library's order.
    pub left_out: Vec<LeftOut>,
}

impl Library {
    /// All files below a folder, by name; hidden ones and folders behind links are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] when a folder cannot be read.
    pub fn below(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(folder, &mut files)?;
        Ok(Library::Files(files))
    }

    /// Number of files, or of chains of a split.
    pub fn len(&self) -> usize {
        match self {
            Library::Files(files) => files.len(),
            Library::Split(split) => split.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chains of an item, with their names.
    fn read(&self, i: usize) -> Result<Vec<(String, Vec<Point>)>, LeftOut> {
        match self {
            Library::Files(files) => {
                let name = files[i].file_name().unwrap_or_default().to_string_lossy();
                let entry = bio::read(&files[i])
                    .map_err(|error| LeftOut { name: name.clone().into_owned(), reason: error.to_string() })?;
                if entry.chains.is_empty() {
                    return Err(LeftOut { name: name.into_owned(), reason: "no protein chain".into() });
                }
                Ok(entry.chains.into_iter().map(|chain| (format!("{name} {}", chain.id), chain.positions)).collect())
            }
            Library::Split(split) => {
                let read = || {
                    let chain = split.chain(i)?;
                    Ok(vec![(chain.key().to_string(), chain.points(0..chain.num_residues())?)])
                };
                let name = || format!("chain {} of split {}", i + 1, split.name());
                read().map_err(|error: Error| LeftOut { name: name(), reason: error.to_string() })
            }
        }
    }
}

/// What one item of a library gave, or several.
#[derive(Default)]
struct Findings {
    /// For each query the nearest chain, and where it stands in the library.
    nearest: Vec<Option<((usize, usize), Nearest)>>,
    known: usize,
    left_out: Vec<LeftOut>,
}

/// For each query the known chain with the highest TM-score by the query's length, by TM-align with the query as the
/// first chain; of several equal ones the first of the library. On all of rayon's threads; the same on any number of
/// them.
///
/// A known chain is not aligned where that cannot change the result: a sum over the residues of the shorter chain,
/// each at most 1, gives no more than `min(1, known length / query length)`, and if that is less than what another
/// chain reached already, it cannot be the nearest. Nothing else is filtered, so that the maximum is that over all
/// chains.
///
/// The field reports the mean over designable samples. Which normalisation it uses differs: Genie 2's pipeline takes
/// the score by the sample's length, as here (but of `TMalign -fast`); Proteina reports Foldseek's `alntmscore`,
/// divided by the length of the alignment, which is larger.
///
/// `done` is called after each item of the library, from whichever thread it was.
///
/// # Errors
/// [`Error::Data`] when a query cannot be compared (with its place, from 1), or no known chain can.
pub fn novelty<C: AsRef<[Point]> + Sync>(
    queries: &[C],
    library: &Library,
    done: &(dyn Fn() + Sync),
) -> Result<Novelty> {
    let n = queries.len();
    for (i, query) in queries.iter().enumerate() {
        check(query.as_ref()).map_err(|what| Error::Data(format!("chain {} of {n}: {what}", i + 1)))?;
    }
    // The bits of numbers that are not negative are in the numbers' order.
    let reached: Vec<AtomicU64> = (0..n).map(|_| AtomicU64::new(0)).collect();
    let search = |item: usize| {
        let findings = compare(queries, library, item, &reached);
        done();
        findings
    };
    let found = (0..library.len()).into_par_iter().map(search).reduce(Findings::default, Findings::and);
    if found.known == 0 {
        let first = found.left_out.first().map_or(String::new(), |left| format!(" ({}: {})", left.name, left.reason));
        return Err(Error::Data(format!("none of {} items has a chain to compare with{first}", library.len())));
    }
    let nearest = found.nearest.into_iter().flatten().map(|(_, nearest)| nearest).collect();
    Ok(Novelty { nearest, known: found.known, left_out: found.left_out })
}

/// Compares all queries with the chains of one item.
fn compare<C: AsRef<[Point]> + Sync>(queries: &[C], library: &Library, item: usize, reached: &[AtomicU64]) -> Findings {
    let mut findings = Findings::default();
    let chains = match library.read(item) {
        Ok(chains) => chains,
        Err(left_out) => return Findings { left_out: vec![left_out], ..findings },
    };
    for (place, (name, known)) in chains.into_iter().enumerate() {
        if let Err(reason) = check(&known) {
            findings.left_out.push(LeftOut { name, reason });
            continue;
        }
        let compare = |(query, reached): (&C, &AtomicU64)| {
            let query = query.as_ref();
            let possible = known.len().min(query.len()) as f64 / query.len() as f64;
            if possible < f64::from_bits(reached.load(Ordering::Relaxed)) {
                return None;
            }
            let found = align(query, &known);
            reached.fetch_max(found.tm_first.to_bits(), Ordering::Relaxed);
            let (tm, tm_known) = (found.tm_first, found.tm_second);
            let nearest = Nearest { name: name.clone(), tm, tm_known, aligned: found.aligned, rmsd: found.rmsd };
            Some(((item, place), nearest))
        };
        let nearest = queries.par_iter().zip(reached).map(compare).collect();
        findings = findings.and(Findings { nearest, known: 1, left_out: Vec::new() });
    }
    findings
}

impl Findings {
    /// Both; of the nearest chains the nearer, of equals the first in the library.
    fn and(mut self, mut other: Self) -> Self {
        self.known += other.known;
        self.left_out.append(&mut other.left_out);
        if self.nearest.is_empty() {
            self.nearest = other.nearest;
        } else {
            self.nearest.iter_mut().zip(other.nearest).for_each(|(one, other)| {
                let better = match (&one, &other) {
                    (Some((place, one)), Some((other_place, other))) => {
                        (other.tm, std::cmp::Reverse(other_place)) > (one.tm, std::cmp::Reverse(place))
                    }
                    (one, _) => one.is_none(),
                };
                if better {
                    *one = other;
                }
            });
        }
        self
    }
}
