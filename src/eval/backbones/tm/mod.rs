//! TM-scores: how alike two chains are, from 0 to 1.
//!
//! With the Cα atoms of one chain superposed on another's, each pair of corresponding residues at distance d counts
//! `1 / (1 + (d / d0)²)`; the TM-score is the largest sum over superpositions, divided by a number of residues L, and
//! `d0 = 1.24 ∛(L − 15) − 1.8` Å (at least 0.5) makes it independent of L for unrelated chains (Zhang & Skolnick,
//! Proteins 57, 702, 2004). Above 0.5 two chains share a fold; unrelated chains have about 0.2 to 0.3. It has no
//! mirror images: a chain and its reflection differ.
//!
//! - [`score`]: residue i corresponds to residue i, as in the program TM-score.
//! - [`align`]: which residues correspond is found too, as in the program TM-align (Zhang & Skolnick, Nucleic Acids
//!   Res. 33, 2302, 2005). It looks at Cα positions only; sequences play no part.
//! - [`pairwise`], [`Matrix::diversity`], [`Matrix::clusters`]: how alike many chains are.
//! - [`novelty`]: the nearest of many known chains.
//!
//! TM-align is a heuristic, and what the field compares is the heuristic's number: its stages and their constants (of
//! version 20210224 of the program) are kept, so that scores equal the program's. What differs is how they are
//! computed: superpositions by a formula from running sums, sets of pairs that were superposed before not once more,
//! dynamic programming along antidiagonals; the result is the same to round-off.
//!
//! # What can be compared
//! Chains of [`SHORTEST`] to [`LONGEST`] residues whose coordinates are finite and at most [`FARTHEST`] Å from the
//! origin; [`check`] says why one cannot. With another chain [`align`] and [`score`] give NaN; functions of many
//! chains give an error that names it. Chains whose points coincide or lie on a line have scores like others. The
//! time is bounded: it grows at most with the fourth power of the length.
//!
//! Where only three or four residues can be aligned (chains of a dozen residues, or clouds that are no chains), the
//! program's score depends on how its input is turned, and so does this one: few points have no unique superposition.

mod align;
mod clusters;
mod dynamic;
mod novelty;
mod pairs;
mod pairwise;
mod resemblance;
mod scale;
mod search;
mod starts;
mod superposition;

pub use clusters::Cluster;
pub use novelty::{LeftOut, Library, Nearest, Novelty, novelty};
pub use pairwise::{Diversity, Matrix, OfLength, pairwise};

use align::{Aligner, best_score, centred, uncentred};
use pairs::Pairs;

use crate::geometry::Point;
use crate::geometry::kabsch::RigidMotion;

/// Chains of fewer residues cannot be superposed in one way only.
pub const SHORTEST: usize = 3;

/// Longer chains are refused, since the time can grow with the fourth power of the length and the memory with its square.
pub const LONGEST: usize = 5000;

/// No coordinate may be farther from the origin than this, in Å; files cannot say more than 9999.999.
pub const FARTHEST: f64 = 1e6;

/// Two chains aligned by [`align`].
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// TM-score with the sum divided by the first chain's length, and d0 of that length. NaN if a chain cannot be
    /// compared.
    pub tm_first: f64,
    /// The same by the second chain's length.
    pub tm_second: f64,
    /// Number of residues that are aligned, and near enough to each other to count.
    pub aligned: usize,
    /// Root mean square distance of these, in Å, after the superposition that makes it smallest; NaN if there are
    /// none.
    pub rmsd: f64,
    /// Which residues these are, of the first and of the second chain, ascending.
    pub residues: Vec<(usize, usize)>,
    /// What brings the first chain onto the second: the superposition of `tm_second`.
    pub motion: RigidMotion,
}

/// Aligns two chains by TM-align.
///
/// As in the program, the order of the chains matters a little: where alignments are about equally good (unrelated
/// chains, as a rule) `align(b, a)` may find another one than `align(a, b)`.
pub fn align(first: &[Point], second: &[Point]) -> Alignment {
    if check(first).is_err() || check(second).is_err() {
        let motion = superposition::Moments::default().superposition();
        let (nan, residues) = (f64::NAN, Vec::new());
        return Alignment { tm_first: nan, tm_second: nan, aligned: 0, rmsd: nan, residues, motion };
    }
    let ((first, from), (second, to)) = (centred(first), centred(second));
    let found = Aligner::new(&first, &second).run();
    Alignment {
        tm_first: found.by_first.score,
        tm_second: found.by_second.score,
        aligned: found.residues.len(),
        rmsd: found.rmsd,
        residues: found.residues,
        motion: uncentred(&found.by_second.motion, &from, &to),
    }
}

/// The TM-score of two chains of equal length, residue i on residue i. NaN if they cannot be compared or differ in
/// length.
pub fn score(first: &[Point], second: &[Point]) -> f64 {
    if first.len() != second.len() || check(first).is_err() || check(second).is_err() {
        return f64::NAN;
    }
    let mut pairs = Pairs::default();
    pairs.set(&centred(first).0, &centred(second).0, (0..first.len()).map(|i| (i, i)));
    best_score(&pairs, second.len()).score
}

/// Whether a chain can be compared.
///
/// # Errors
/// Why not, in words.
pub fn check(chain: &[Point]) -> Result<(), String> {
    let n = chain.len();
    if n < SHORTEST {
        return Err(format!("{n} residues are fewer than the {SHORTEST} that a TM-score needs"));
    }
    if n > LONGEST {
        return Err(format!("{n} residues are more than the {LONGEST} that TM-scores are computed for"));
    }
    // (Written so that NaN counts as far.)
    match chain.iter().position(|point| !point.iter().all(|c| c.abs() <= FARTHEST)) {
        Some(i) => Err(format!(
            "residue {} of {n} is at {:?}; coordinates are finite and within {FARTHEST} Å",
            i + 1,
            chain[i]
        )),
        None => Ok(()),
    }
}
