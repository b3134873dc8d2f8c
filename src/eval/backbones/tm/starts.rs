//! Where TM-align's refinement starts from: alignments that are quickly found.
//!
//! Of the five, two are made here by sliding chains along each other without gaps, one by superposing short pieces;
//! the two that come straight from dynamic programming are made where they are used (`alignment.rs`).

use std::cmp::Ordering;
use std::ops::Range;

use super::dynamic::Table;
use super::pairs::{FEWEST, Pairs, nearness, third_smallest};
use super::resemblance::Nearness;
use super::scale::Scale;
use super::superposition::Moments;
use crate::geometry::Point;
use crate::geometry::vector::{norm_squared, sub};

/// Pairs of residues in ascending order.
pub(super) type Residues = Vec<(usize, usize)>;

/// Consecutive Cα atoms within this distance, in Å, belong to one unbroken piece.
const BOND: f64 = 4.25;

/// An unbroken piece of at least so many residues is looked for, or of a third of the chain.
const SHORTEST_PIECE: usize = 4;

/// The two chains, and a place to measure alignments of theirs.
pub(super) struct Starts<'a> {
    pub first: &'a [Point],
    pub second: &'a [Point],
    pub scale: Scale,
    pairs: Pairs,
    squares: Vec<f64>,
}

impl<'a> Starts<'a> {
    /// For chains of at least three residues.
    pub fn new(first: &'a [Point], second: &'a [Point], scale: Scale) -> Self {
        Starts { first, second, scale, pairs: Pairs::default(), squares: Vec::new() }
    }

    fn shorter(&self) -> usize {
        self.first.len().min(self.second.len())
    }

    /// Chains slid along each other, at least half of the shorter one (and five residues) facing the other.
    pub fn threading(&mut self) -> Residues {
        let (first, second) = (self.first.len(), self.second.len());
        let overlap = (self.shorter() / 2).max(5);
        let shifts = shifts(first, second, overlap);
        let slid = |shift: isize| facing(first, second, shift);
        let best = self.best(shifts.clone().map(slid));
        // Chains too short for any overlap face each other with one end.
        best.map_or_else(|| slid(*shifts.start()).collect(), |(_, residues)| residues)
    }

    /// The longest unbroken piece of a chain, slid along the other chain; of the chain whose piece is shorter (both,
    /// if chains and pieces are of equal length). Of a piece that is a whole chain the outer tenths are left out.
    pub fn pieces(&mut self) -> Residues {
        let (a, b) = (longest_piece(self.first), longest_piece(self.second));
        let order = (a.len(), self.first.len()).cmp(&(b.len(), self.second.len()));
        let trim = |piece: Range<usize>| match piece.len() == self.shorter() {
            true => {
                let part = |share: f64| piece.start + (piece.len() as f64 * share) as usize;
                part(0.1)..(part(0.89) + 1).min(piece.end)
            }
            false => piece,
        };
        let overlap = |one: usize, other: usize| ((one.min(other) as f64 / 2.5) as usize).max(SHORTEST_PIECE - 1);
        let (a, b, first, second) = (trim(a), trim(b), self.first.len(), self.second.len());
        let along_second = shifts(a.len(), second, overlap(a.len(), second))
            .map(|shift| facing(a.len(), second, shift).map(|(i, j)| (a.start + i, j)));
        let along_first = shifts(first, b.len(), overlap(first, b.len()))
            .map(|shift| facing(first, b.len(), shift).map(|(i, j)| (i, b.start + j)));
        let best = match order {
            Ordering::Less => self.best(along_second),
            Ordering::Greater => self.best(along_first),
            Ordering::Equal => {
                let one = self.best(along_second);
                let other = self.best(along_first);
                [one, other].into_iter().flatten().reduce(|one, other| if other.0 >= one.0 { other } else { one })
            }
        };
        best.map_or_else(Vec::new, |(_, residues)| residues)
    }

    /// Short and long fragments of one chain superposed on those of the other; from each superposition the alignment
    /// with free gaps.
    pub fn local(&mut self, table: &mut Table, second_reversed: &[Vec<f64>; 3]) -> Residues {
        let shorter = self.shorter();
        let strides = [self.first.len(), self.second.len()].map(|length| stride(length).min(length / 3));
        let mut best = (0.0, Vec::new());
        for fragment in [20.min(shorter / 3), 100.min(shorter / 2)] {
            for i in (0..=self.first.len() - fragment).step_by(strides[0]) {
                for j in (0..=self.second.len() - fragment).step_by(strides[1]) {
                    let facing = self.first[i..i + fragment].iter().zip(&self.second[j..j + fragment]);
                    let motion = facing.fold(Moments::default(), |sum, (x, y)| sum.with(x, y)).superposition();
                    let nearness = Nearness::new(self.first, &motion, second_reversed, self.scale.d0 + 1.5);
                    let residues = table.align(&nearness, 0.0);
                    let score = self.quick_score(residues.iter().copied());
                    if score > best.0 {
                        best = (score, residues);
                    }
                }
            }
        }
        best.1
    }

    /// The best of several alignments, the last among equals.
    fn best<R>(&mut self, alignments: impl Iterator<Item = R>) -> Option<(f64, Residues)>
    where
        R: Iterator<Item = (usize, usize)> + Clone,
    {
        let mut best: Option<(f64, R)> = None;
        for residues in alignments {
            let score = self.quick_score(residues.clone());
            if best.as_ref().is_none_or(|(highest, _)| score >= *highest) {
                best = Some((score, residues));
            }
        }
        best.map(|(score, residues)| (score, residues.collect()))
    }

    /// The best TM-score (not divided by a length) of three superpositions: of all pairs, of those that came near,
    /// and of those that came near then.
    fn quick_score(&mut self, residues: impl Iterator<Item = (usize, usize)>) -> f64 {
        self.pairs.set(self.first, self.second, residues);
        let reach = self.scale.reach * self.scale.reach;
        let of_all = self.measure(&self.pairs.all());
        let near = self.near(reach);
        if near.count as usize == self.pairs.len() {
            return of_all;
        }
        let of_near = self.measure(&near);
        let near = self.near(reach + 1.0);
        of_all.max(of_near).max(self.measure(&near))
    }

    fn measure(&mut self, moments: &Moments) -> f64 {
        self.pairs.distances(&moments.superposition(), &mut self.squares);
        nearness(&self.squares, self.scale.d0, f64::INFINITY)
    }

    /// The sums over the pairs whose squared distance is at most `limit`, or, where these are too few, at most as
    /// many half Å² more as it takes.
    fn near(&self, limit: f64) -> Moments {
        let near = self.pairs.moments(&self.squares, limit.next_up());
        if near.count as usize >= FEWEST || self.pairs.len() <= FEWEST {
            return near;
        }
        let steps = ((third_smallest(&self.squares) - limit) / 0.5).ceil();
        self.pairs.moments(&self.squares, (limit + 0.5 * steps).next_up())
    }
}

/// How far two rows of residues can be shifted against each other so that `overlap` of them face each other.
fn shifts(first: usize, second: usize, overlap: usize) -> std::ops::RangeInclusive<isize> {
    overlap as isize - second as isize..=first as isize - overlap as isize
}

/// The residues (j + shift, j) that exist in both chains.
fn facing(first: usize, second: usize, shift: isize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let end = second.min(first.saturating_add_signed(-shift));
    ((-shift).max(0) as usize..end).map(move |j| (j.wrapping_add_signed(shift), j))
}

/// Local fragments begin at every so many residues.
fn stride(length: usize) -> usize {
    match length {
        251.. => 45,
        201..=250 => 35,
        151..=200 => 25,
        _ => 15,
    }
}

/// The first of the longest runs of residues that are bonded. Where all runs are very short, bonds may be longer.
fn longest_piece(chain: &[Point]) -> Range<usize> {
    let wanted = SHORTEST_PIECE.min(chain.len() / 3);
    let mut tolerance = 1.0;
    loop {
        let piece = longest_run(chain, tolerance * BOND);
        if piece.len() >= wanted {
            return piece;
        }
        tolerance *= 1.1;
    }
}

fn longest_run(chain: &[Point], bond: f64) -> Range<usize> {
    let mut longest = 0..0;
    let mut start = 0;
    for end in 1..=chain.len() {
        if end < chain.len() && norm_squared(&sub(&chain[end], &chain[end - 1])) < bond * bond {
            continue;
        }
        if end - start > longest.len() {
            longest = start..end;
        }
        start = end;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_face_each_other() {
        assert_eq!(facing(3, 4, 0).collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(facing(3, 4, 2).collect::<Vec<_>>(), [(2, 0)]);
        assert_eq!(facing(3, 4, -2).collect::<Vec<_>>(), [(0, 2), (1, 3)]);
        assert_eq!((facing(3, 4, 3).count(), facing(3, 4, -4).count(), facing(3, 4, 9).count()), (0, 0, 0));
        assert_eq!(shifts(10, 20, 5), -15..=5);
        assert!(shifts(3, 3, 5).is_empty());
    }

    #[test]
    fn pieces_end_at_breaks() {
        let at = |x: &[f64]| x.iter().map(|&x| [x, 0.0, 0.0]).collect::<Vec<Point>>();
        let broken = at(&[0.0, 3.8, 7.6, 20.0, 23.8, 27.6, 31.4, 60.0, 63.8, 67.6, 71.4, 90.0]);
        assert_eq!(longest_piece(&broken), 3..7);
        assert_eq!(longest_piece(&at(&[0.0, 3.8, 7.6])), 0..3);
        // Nothing is bonded: 6 Å between residues, later 7 Å.
        let loose = at(&[0.0, 6.0, 12.0, 18.0, 24.0, 31.0, 38.0, 45.0, 52.0, 59.0, 66.0, 73.0]);
        assert_eq!(longest_piece(&loose), 0..5);
    }
}
