//! TM-align: from five starts to the alignment with the highest TM-score.

use super::dynamic::Table;
use super::pairs::Pairs;
use super::resemblance::{Kinds, Nearness, SameKind, axes};
use super::scale::{Scale, farthest};
use super::search::{Effort, Found, search};
use super::starts::{Residues, Starts};
use crate::geometry::kabsch::RigidMotion;
use crate::geometry::vector::{add, centroid, sub};
use crate::geometry::{Point, rotate};

/// On the way, fragments begin at every so many pairs.
const COARSE: usize = 40;

/// What opening a gap adds where kinds of structure are compared.
const KIND_GAP: f64 = -1.0;

/// What the same kind of structure adds where nearness is compared as well.
const KIND_BONUS: f64 = 0.5;

/// How much more lenient nearness is there, in Å.
const LENIENCE: f64 = 1.5;

/// A refinement has converged when the score changes by less.
const CONVERGED: f64 = 1e-6;

/// How a start is refined: superpose, align by nearness, superpose …
struct Refinement {
    /// What opening a gap adds, one after the other.
    gaps: &'static [f64],
    /// How often at most it is repeated with each.
    rounds: usize,
    /// Only a start with more than this share of the best score so far is refined.
    share: f64,
}

/// Two centred chains on their way to an alignment.
pub(super) struct Aligner<'a> {
    first: &'a [Point],
    second: &'a [Point],
    second_axes_reversed: [Vec<f64>; 3],
    kinds: Kinds,
    scale: Scale,
    farthest: f64,
    table: Table,
    pairs: Pairs,
    best: (f64, Residues),
}

/// The alignment that was found, of centred chains.
pub(super) struct Aligned {
    /// The pairs that ended up near enough.
    pub residues: Residues,
    /// Their RMSD in Å when they are superposed by it.
    pub rmsd: f64,
    /// The best superposition by the first chain's length and scale.
    pub by_first: Found,
    /// The best superposition by the second chain's length and scale.
    pub by_second: Found,
}

impl<'a> Aligner<'a> {
    /// For chains of at least three residues.
    pub fn new(first: &'a [Point], second: &'a [Point]) -> Self {
        let shorter = first.len().min(second.len());
        Aligner {
            first,
            second,
            second_axes_reversed: axes(second.iter().rev()),
            kinds: Kinds::new(first, second),
            scale: Scale::of_search(shorter),
            farthest: farthest(shorter),
            table: Table::new(first.len(), second.len()),
            pairs: Pairs::default(),
            best: (-1.0, Residues::new()),
        }
    }

    /// Tries the five starts, each with its refinement, and scores the best alignment.
    pub fn run(mut self) -> Aligned {
        let share = if self.scale.length <= 40.0 { 0.1 } else { 0.4 };
        const GAPS: &[f64] = &[-0.6, 0.0];
        let mut starts = Starts::new(self.first, self.second, self.scale);

        self.pursue(starts.threading(), &Refinement { gaps: GAPS, rounds: 30, share: 0.0 });
        let by_kinds = self.table.align(&SameKind { kinds: &self.kinds, weight: 1.0 }, KIND_GAP);
        self.pursue(by_kinds, &Refinement { gaps: GAPS, rounds: 30, share: 0.2 });
        let local = starts.local(&mut self.table, &self.second_axes_reversed);
        self.pursue(local, &Refinement { gaps: GAPS, rounds: 2, share });
        let by_both = self.by_kinds_and_nearness();
        self.pursue(by_both, &Refinement { gaps: GAPS, rounds: 30, share });
        self.pursue(starts.pieces(), &Refinement { gaps: &[0.0], rounds: 2, share });
        self.finish()
    }

    /// Scores a start and, if it is good enough, its refinements; keeps the best.
    fn pursue(&mut self, start: Residues, refinement: &Refinement) {
        if start.is_empty() {
            return;
        }
        let Found { score, mut motion } = self.superpose(&start);
        self.keep(score, start);
        if score <= refinement.share * self.best.0 {
            return;
        }
        for &gap in refinement.gaps {
            let mut before = f64::NAN;
            for _ in 0..refinement.rounds {
                let nearness = Nearness::new(self.first, &motion, &self.second_axes_reversed, self.scale.d0);
                let residues = self.table.align(&nearness, gap);
                let found = self.superpose(&residues);
                self.keep(found.score, residues);
                motion = found.motion;
                if (found.score - before).abs() < CONVERGED {
                    break;
                }
                before = found.score;
            }
        }
    }

    fn superpose(&mut self, residues: &Residues) -> Found {
        self.pairs.set(self.first, self.second, residues.iter().copied());
        search(&self.pairs, &self.scale, Effort { stride: COARSE, farthest: self.farthest })
    }

    fn keep(&mut self, score: f64, residues: Residues) {
        if score > self.best.0 {
            self.best = (score, residues);
        }
    }

    /// The alignment by kinds of structure and by nearness after the best alignment so far is superposed.
    fn by_kinds_and_nearness(&mut self) -> Residues {
        self.pairs.set(self.first, self.second, self.best.1.iter().copied());
        let motion = self.pairs.all().superposition();
        let nearness = Nearness::new(self.first, &motion, &self.second_axes_reversed, self.scale.d0 + LENIENCE);
        let same_kind = SameKind { kinds: &self.kinds, weight: KIND_BONUS };
        self.table.align(&(nearness, same_kind), KIND_GAP)
    }

    /// Superposes the best alignment thoroughly, drops pairs that are far apart, and scores the rest by either
    /// length.
    fn finish(mut self) -> Aligned {
        let mut residues = std::mem::take(&mut self.best.1);
        self.pairs.set(self.first, self.second, residues.iter().copied());
        let found = search(&self.pairs, &self.scale, Effort { stride: 1, farthest: self.farthest });
        let mut squares = Vec::new();
        self.pairs.distances(&found.motion, &mut squares);
        let mut near = squares.iter().map(|square| square.sqrt() <= self.farthest);
        residues.retain(|_| near.next() == Some(true));

        self.pairs.set(self.first, self.second, residues.iter().copied());
        self.pairs.distances(&self.pairs.all().superposition(), &mut squares);
        let rmsd = (squares[..residues.len()].iter().sum::<f64>() / residues.len() as f64).sqrt();
        let by_first = best_score(&self.pairs, self.first.len());
        let by_second =
            if self.first.len() == self.second.len() { by_first } else { best_score(&self.pairs, self.second.len()) };
        Aligned { residues, rmsd, by_first, by_second }
    }
}

/// The TM-score of given pairs, normalised by a length, and its superposition.
pub(super) fn best_score(pairs: &Pairs, length: usize) -> Found {
    search(pairs, &Scale::of_score(length), Effort { stride: 1, farthest: f64::INFINITY })
}

/// The chain with its centre at the origin, and where the centre was.
pub(super) fn centred(chain: &[Point]) -> (Vec<Point>, Point) {
    let centre = centroid(chain);
    (chain.iter().map(|point| sub(point, &centre)).collect(), centre)
}

/// The motion of the chains as they were, by that of the centred chains.
pub(super) fn uncentred(motion: &RigidMotion, from: &Point, to: &Point) -> RigidMotion {
    let translation = sub(&add(&motion.translation, to), &rotate(&motion.rotation, from));
    RigidMotion { rotation: motion.rotation, translation }
}
