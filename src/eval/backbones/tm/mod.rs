//! TM-scores: how alike two chains are, from 0 to 1.
//!
//! [`score`] compares residue i with residue i, [`align`] finds which residues correspond (TM-align). A score above 0.5 says
//! that two chains share a fold, below 0.2 that they are unrelated.

mod align;
mod dynamic;
mod pairs;
mod resemblance;
mod scale;
mod search;
mod starts;
mod superposition;

use align::{Aligner, best_score, centred, uncentred};
use pairs::Pairs;

use crate::geometry::Point;
use crate::geometry::kabsch::RigidMotion;

/// Two chains aligned.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// tm
    pub tm_first: f64,
    /// tm
    pub tm_second: f64,
    /// n
    pub aligned: usize,
    /// rmsd
    pub rmsd: f64,
    /// pairs
    pub residues: Vec<(usize, usize)>,
    /// motion
    pub motion: RigidMotion,
}

/// a
pub fn align(first: &[Point], second: &[Point]) -> Alignment {
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

/// s
pub fn score(first: &[Point], second: &[Point]) -> f64 {
    let mut pairs = Pairs::default();
    pairs.set(&centred(first).0, &centred(second).0, (0..first.len()).map(|i| (i, i)));
    best_score(&pairs, second.len()).score
}
