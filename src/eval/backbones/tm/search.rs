//! The search for the superposition of given pairs with the highest TM-score.
//!
//! Zhang & Skolnick's heuristic (Proteins 57, 702, 2004): fragments of all pairs, half of them, a quarter … are
//! superposed; from each superposition the pairs that came near are superposed anew, until they stay the same.

use std::collections::HashMap;

use super::pairs::{FEWEST, Pairs, count_below, nearness, third_smallest};
use super::scale::Scale;
use super::superposition::Moments;
use crate::geometry::kabsch::RigidMotion;

/// No superposition is made anew more often than this.
const MAX_ROUNDS: u32 = 20;

/// The shortest fragment, in pairs.
const SHORTEST_FRAGMENT: usize = 4;

/// Fragments have at most so many lengths.
const FRAGMENT_LENGTHS: u32 = 6;

/// A superposition and what it is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The TM-score.
    pub score: f64,
    /// What brings x onto y.
    pub motion: RigidMotion,
}

/// How thoroughly a search goes, and what it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Fragments begin at every so many pairs: 1 is thorough.
    pub stride: usize,
    /// Pairs farther apart than this, in Å, do not count; infinite where all do.
    pub farthest: f64,
}

/// The best superposition of the pairs.
pub(super) fn search(pairs: &Pairs, scale: &Scale, effort: Effort) -> Found {
    let none = Found { score: -1.0, motion: Moments::default().superposition() };
    let mut search = Search { pairs, scale, effort, squares: Vec::new(), best: none, followed: HashMap::new() };
    let sums = pairs.running_moments();
    for length in fragment_lengths(pairs.len()) {
        for start in starts(pairs.len() - length, effort.stride) {
            search.follow(sums[start + length].without(&sums[start]).superposition());
        }
    }
    search.best
}

/// All pairs, half of them, a quarter …: at most six lengths, the last of them four.
fn fragment_lengths(pairs: usize) -> Vec<usize> {
    let shortest = SHORTEST_FRAGMENT.min(pairs);
    let mut lengths: Vec<usize> =
        (0..FRAGMENT_LENGTHS - 1).map(|halvings| pairs >> halvings).take_while(|&length| length > shortest).collect();
    lengths.push(shortest);
    lengths
}

/// 0, stride, 2 stride … and in any case `last`.
fn starts(last: usize, stride: usize) -> impl Iterator<Item = usize> {
    (0..last).step_by(stride).chain([last])
}

struct Search<'a> {
    pairs: &'a Pairs,
    scale: &'a Scale,
    effort: Effort,
    /// Squared distances under the last superposition tried.
    squares: Vec<f64>,
    best: Found,
    /// The sets of pairs that were superposed, each with the number of rounds that were left then. A set leads where
    /// it led before, so that it is not followed again.
    followed: HashMap<Box<[u64]>, u32>,
}

impl Search<'_> {
    /// Superposes the near pairs again and again, from a first superposition.
    fn follow(&mut self, first: RigidMotion) {
        let mut limit = self.try_out(first, self.scale.reach - 1.0);
        for rounds_left in (0..MAX_ROUNDS).rev() {
            let near = bits(&self.squares, limit);
            if self.followed.get(&near).is_some_and(|&before| before >= rounds_left) {
                break;
            }
            self.followed.insert(near, rounds_left);
            let motion = self.pairs.moments(&self.squares, limit).superposition();
            limit = self.try_out(motion, self.scale.reach + 1.0);
        }
    }

    /// Measures a superposition and keeps it if it is the best; the limit of the squared distances of pairs that are
    /// within `reach` (or, where these are too few, within as many half Ångström more as it takes).
    fn try_out(&mut self, motion: RigidMotion, reach: f64) -> f64 {
        self.pairs.distances(&motion, &mut self.squares);
        let score = nearness(&self.squares, self.scale.d0, self.effort.farthest) / self.scale.length;
        if score > self.best.score {
            self.best = Found { score, motion };
        }
        let limit = reach * reach;
        match self.pairs.len() > FEWEST && count_below(&self.squares, limit) < FEWEST {
            true => widened(reach, third_smallest(&self.squares)),
            false => limit,
        }
    }
}

/// The square of the smallest of reach + ½, reach + 1 … that is greater than `square`.
fn widened(reach: f64, square: f64) -> f64 {
    let steps = ((square.sqrt() - reach) / 0.5).floor().max(1.0);
    let limit = |steps: f64| (reach + 0.5 * steps) * (reach + 0.5 * steps);
    if limit(steps) > square { limit(steps) } else { limit(steps + 1.0) }
}

/// One bit per pair: whether its squared distance is below the limit.
fn bits(squares: &[f64], limit: f64) -> Box<[u64]> {
    let word = |part: &[f64]| part.iter().rev().fold(0, |word, &square| word << 1 | u64::from(square < limit));
    squares.chunks(64).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_halve_down_to_four() {
        assert_eq!(fragment_lengths(150), [150, 75, 37, 18, 9, 4]);
        assert_eq!(fragment_lengths(1000), [1000, 500, 250, 125, 62, 4]);
        assert_eq!(fragment_lengths(17), [17, 8, 4]);
        assert_eq!((fragment_lengths(4), fragment_lengths(3), fragment_lengths(0)), (vec![4], vec![3], vec![0]));
    }

    #[test]
    fn the_last_start_is_never_left_out() {
        assert_eq!(starts(90, 40).collect::<Vec<_>>(), [0, 40, 80, 90]);
        assert_eq!(starts(80, 40).collect::<Vec<_>>(), [0, 40, 80]);
        assert_eq!((starts(0, 40).collect::<Vec<_>>(), starts(2, 1).collect::<Vec<_>>()), (vec![0], vec![0, 1, 2]));
    }

    #[test]
    fn limits_widen_by_half_an_angstrom() {
        assert_eq!(widened(3.5, 20.0), 4.5 * 4.5);
        assert_eq!(widened(3.5, 16.0), 4.5 * 4.5, "greater, not equal");
        assert_eq!(widened(3.5, 12.25), 16.0);
        assert!(widened(3.5, 1e12) > 1e12);
    }

    #[test]
    fn bits_in_order() {
        let squares: Vec<f64> = (0..70).map(f64::from).collect();
        assert_eq!(*bits(&squares, 66.0), [u64::MAX, 0b11]);
    }
}
