//! Dynamic programming: the alignment of two chains with the highest sum of similarities less gap penalties.
//!
//! Needleman & Wunsch's recursion with TM-align's rule for gaps: a gap costs when it opens right behind an aligned
//! pair, its length costs nothing, and neither do gaps before the first pair. The table is filled along its
//! antidiagonals, whose cells do not depend on each other, so that a processor's vectors fill several at once.

use std::ops::Range;

use pulp::NullaryFnOnce;

/// A run of cells (i, j) with the same i + j, from small i to large.
#[derive(Clone, Debug)]
pub(super) struct Antidiagonal {
    /// The residues of the first chain.
    pub first: Range<usize>,
    /// Where the residues of the second chain lie in that chain's *reverse*.
    pub second: Range<usize>,
}

/// What aligning two residues is worth.
pub(super) trait Similarity {
    /// Adds the similarities of the cells to `sums`, one number a cell. (Implementations are inlined into vector
    /// code.)
    fn add(&self, cells: &Antidiagonal, sums: &mut [f64]);
}

/// How each cell's best alignment ends.
const PAIR: u8 = 0;
const GAP_IN_FIRST: u8 = 1;
const GAP_IN_SECOND: u8 = 2;

/// A table that is kept from one alignment to the next.
#[derive(Debug)]
pub(super) struct Table {
    /// Lengths of the chains.
    lengths: [usize; 2],
    /// How alignments end, one row of `lengths[0] + 1` for each sum i + j of numbers of residues.
    ends: Vec<u8>,
}

impl Table {
    /// A table for chains of two lengths.
    pub fn new(first: usize, second: usize) -> Self {
        Table { lengths: [first, second], ends: vec![PAIR; (first + second + 1) * (first + 1)] }
    }

    /// The best alignment, as pairs of residues in ascending order; `gap` is what opening a gap adds, 0 or less.
    pub fn align(&mut self, similarity: &impl Similarity, gap: f64) -> Vec<(usize, usize)> {
        pulp::Arch::new().dispatch(Fill { table: self, similarity, gap });
        self.trace_back()
    }

    fn trace_back(&self) -> Vec<(usize, usize)> {
        let ([mut i, mut j], mut pairs) = (self.lengths, Vec::new());
        while i > 0 && j > 0 {
            match self.ends[(i + j) * (self.lengths[0] + 1) + i] {
                PAIR => {
                    (i, j) = (i - 1, j - 1);
                    pairs.push((i, j));
                }
                GAP_IN_FIRST => j -= 1,
                _ => i -= 1,
            }
        }
        pairs.reverse();
        pairs
    }
}

/// Best values along an antidiagonal, by the number of residues of the first chain that are used up. Where one chain
/// is not used at all they stay 0.
struct Line {
    /// The best sum.
    value: Vec<f64>,
    /// The best sum if a gap follows.
    before_gap: Vec<f64>,
}

impl Line {
    fn new(length: usize) -> Self {
        Line { value: vec![0.0; length + 1], before_gap: vec![0.0; length + 1] }
    }
}

/// Fills the table, antidiagonal by antidiagonal.
struct Fill<'a, S> {
    table: &'a mut Table,
    similarity: &'a S,
    gap: f64,
}

impl<S: Similarity> NullaryFnOnce for Fill<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [first, second] = self.table.lengths;
        let mut lines = [Line::new(first), Line::new(first), Line::new(first)];
        let mut similarities = vec![0.0; first.min(second)];
        for used in 2..=first + second {
            let cells = used.saturating_sub(second).max(1)..first.min(used - 1) + 1;
            let sums = &mut similarities[..cells.len()];
            sums.fill(0.0);
            let reversed = second + cells.start - used;
            self.similarity.add(
                &Antidiagonal { first: cells.start - 1..cells.end - 1, second: reversed..reversed + cells.len() },
                sums,
            );
            let [before, last, line] = &mut lines;
            let ends = &mut self.table.ends[used * (first + 1)..][..first + 1];
            step(&cells, (before, last), line, sums, self.gap, ends);
            lines.rotate_left(1);
        }
    }
}

/// One antidiagonal from the two before it. Ties go to the pair, then to a gap in the first chain.
#[inline(always)]
fn step(
    cells: &Range<usize>,
    (before, last): (&Line, &Line),
    line: &mut Line,
    similarity: &[f64],
    gap: f64,
    ends: &mut [u8],
) {
    let n = cells.len();
    let diagonal = &before.value[cells.start - 1..][..n];
    let (above, beside) = (&last.before_gap[cells.start - 1..][..n], &last.before_gap[cells.start..][..n]);
    let (value, before_gap) = (&mut line.value[cells.start..][..n], &mut line.before_gap[cells.start..][..n]);
    let (similarity, ends) = (&similarity[..n], &mut ends[cells.start..][..n]);
    for k in 0..n {
        let pair = diagonal[k] + similarity[k];
        let (gap_value, gap_end) =
            if beside[k] >= above[k] { (beside[k], GAP_IN_FIRST) } else { (above[k], GAP_IN_SECOND) };
        let paired = pair >= gap_value;
        value[k] = if paired { pair } else { gap_value };
        before_gap[k] = if paired { pair + gap } else { gap_value };
        ends[k] = if paired { PAIR } else { gap_end };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any numbers, one per cell.
    struct Given {
        columns: usize,
        values: Vec<f64>,
    }

    impl Similarity for Given {
        #[inline(always)]
        fn add(&self, cells: &Antidiagonal, sums: &mut [f64]) {
            for ((i, reversed), sum) in cells.first.clone().zip(cells.second.clone()).zip(sums) {
                *sum += self.values[i * self.columns + self.columns - 1 - reversed];
            }
        }
    }

    /// The value of an alignment: similarities, and a penalty for each aligned pair that a gap follows, unless
    /// nothing of a chain is left.
    fn worth(given: &Given, lengths: [usize; 2], gap: f64, pairs: &[(usize, usize)]) -> f64 {
        let mut sum = 0.0;
        for (k, &(i, j)) in pairs.iter().enumerate() {
            sum += given.values[i * given.columns + j];
            let next = pairs.get(k + 1).copied().unwrap_or((lengths[0], lengths[1]));
            sum += if next == (i + 1, j + 1) { 0.0 } else { gap };
        }
        sum
    }

    /// All alignments of what is left of two chains.
    fn best_of_all(given: &Given, lengths: [usize; 2], gap: f64, pairs: &mut Vec<(usize, usize)>) -> f64 {
        let mut best = worth(given, lengths, gap, pairs);
        let (from_i, from_j) = pairs.last().map_or((0, 0), |&(i, j)| (i + 1, j + 1));
        for i in from_i..lengths[0] {
            for j in from_j..lengths[1] {
                pairs.push((i, j));
                best = best.max(best_of_all(given, lengths, gap, pairs));
                pairs.pop();
            }
        }
        best
    }

    fn problem() -> impl Strategy<Value = (usize, usize, Vec<f64>)> {
        (1usize..6, 1usize..6).prop_flat_map(|(rows, columns)| {
            (Just(rows), Just(columns), proptest::collection::vec(-0.3..1.0f64, rows * columns))
        })
    }

    proptest! {
        /// With free gaps the recursion is exact.
        #[test]
        fn as_good_as_the_best_of_all_alignments((rows, columns, values) in problem()) {
            let given = Given { columns, values };
            let found = Table::new(rows, columns).align(&given, 0.0);
            let best = best_of_all(&given, [rows, columns], 0.0, &mut Vec::new());
            prop_assert!((worth(&given, [rows, columns], 0.0, &found) - best).abs() < 1e-12);
        }

        /// With a penalty it is a heuristic (the better of two ways into a cell is kept before its gap is paid), but
        /// it gives an alignment, and never a worse one than no gaps at all from the first residues on.
        #[test]
        fn alignments_ascend((rows, columns, values) in problem(), gap in -1.0..0.0f64) {
            let given = Given { columns, values };
            let mut table = Table::new(rows, columns);
            let found = table.align(&given, gap);
            prop_assert!(found.iter().zip(found.iter().skip(1)).all(|(a, b)| a.0 < b.0 && a.1 < b.1));
            prop_assert!(found.iter().all(|&(i, j)| i < rows && j < columns));
            prop_assert_eq!(table.align(&given, gap), found, "a table can be used again");
        }
    }

    #[test]
    fn gaps_cost_where_they_open() {
        // Both chains' ends match, with a residue of the second chain in between.
        let given = Given { columns: 3, values: vec![1.0, 0.1, 0.0, 0.0, 0.0, 0.6] };
        assert_eq!(Table::new(2, 3).align(&given, 0.0), [(0, 0), (1, 2)]);
        assert_eq!(Table::new(2, 3).align(&given, -0.8), [(0, 0), (1, 2)]);
        assert_eq!(Table::new(2, 3).align(&given, -1.0), [(0, 1), (1, 2)]);
    }
}
