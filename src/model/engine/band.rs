//! Products with a few terms: rows of which only a narrow band of columns is not zero, times the rows of a matrix
//! in that band. General matrix products pack their operands first, which costs more here than the sums.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Lanes, Row, RowMut, dispatch};

/// Rows (T, stride), zero outside the columns `band`.
#[derive(Clone, Debug)]
pub(crate) struct Band<'a> {
    /// The rows.
    pub(crate) rows: &'a [f32],
    /// From a row to the next.
    pub(crate) stride: usize,
    /// The columns that count.
    pub(crate) band: Range<usize>,
}

/// Vectors that are computed side by side.
const WIDTH: usize = 2;

/// What becomes of a product's numbers while they are at hand.
pub(crate) trait Finish {
    /// What is added to each row of the product: the vector from this column on.
    #[inline(always)]
    fn offset<S: Simd>(&self, simd: S, _column: usize) -> Lanes<S> {
        Lanes::splat(simd, 0.0)
    }

    /// Replaces a few vectors of a row, from this column on.
    fn finish<S: Simd>(&mut self, simd: S, row: usize, column: usize, numbers: &mut [f32]);
}

/// They stay as they are.
pub(crate) struct Keep;

impl Finish for Keep {
    #[inline(always)]
    fn finish<S: Simd>(&mut self, _: S, _: usize, _: usize, _: &mut [f32]) {}
}

impl Band<'_> {
    /// y = F W, for W (K, width) and y (T, width); width is a multiple of two vectors.
    pub(crate) fn product(&self, weights: &[f32], width: usize, finish: impl Finish, y: &mut [f32]) {
        dispatch(Product { f: self, weights, width, finish, y });
    }

    /// ∂W += Fᵀ ∂y.
    pub(crate) fn at_weights(&self, at_y: &[f32], width: usize, at_weights: &mut [f32]) {
        dispatch(AtWeights { f: self, at_y, width, at_weights });
    }

    /// ∂F += ∂y Wᵀ in the band; `at_rows` is arranged as the rows are.
    pub(crate) fn at_rows(&self, at_y: &[f32], weights: &[f32], width: usize, at_rows: &mut [f32]) {
        dispatch(AtRows { f: self, at_y, weights, width, at_rows });
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.rows.len() / self.stride
    }
}

struct Product<'a, F> {
    f: &'a Band<'a>,
    weights: &'a [f32],
    width: usize,
    finish: F,
    y: &'a mut [f32],
}

impl<F: Finish> WithSimd for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.f.len();
        let step = WIDTH * S::F32_LANES;
        for column in (0..self.width).step_by(step) {
            let mut row = 0;
            while row < rows {
                row += match rows - row {
                    12.. => self.block::<S, 12>(simd, row, column),
                    4.. => self.block::<S, 4>(simd, row, column),
                    _ => self.block::<S, 1>(simd, row, column),
                };
            }
        }
    }
}

impl<F: Finish> Product<'_, F> {
    /// `R` rows from `row` on of the columns from `column` on; `R`.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(&mut self, simd: S, row: usize, column: usize) -> usize {
        let Band { rows, stride, ref band } = *self.f;
        let lines: [&[f32]; R] = std::array::from_fn(|r| &rows[(row + r) * stride..][band.clone()]);
        let step = WIDTH * S::F32_LANES;
        let mut offset = [Lanes::splat(simd, 0.0); WIDTH];
        for v in 0..WIDTH {
            offset[v] = self.finish.offset(simd, column + v * S::F32_LANES);
        }
        let mut sums = [offset; R];
        for (k, index) in band.clone().enumerate() {
            let w = Row::new(simd, &self.weights[index * self.width + column..], step);
            for r in 0..R {
                let f = Lanes::splat(simd, lines[r][k]);
                for v in 0..WIDTH {
                    sums[r][v] = f.times_plus(w.at(v), sums[r][v]);
                }
            }
        }
        for r in 0..R {
            let mut y = RowMut::new(simd, &mut self.y[(row + r) * self.width + column..], step);
            for v in 0..WIDTH {
                y.set(v, sums[r][v]);
            }
        }
        // Apart, so that nothing takes registers away from the sums.
        for r in row..row + R {
            self.finish.finish(simd, r, column, &mut self.y[r * self.width + column..][..step]);
        }
        R
    }
}

struct AtWeights<'a> {
    f: &'a Band<'a>,
    at_y: &'a [f32],
    width: usize,
    at_weights: &'a mut [f32],
}

impl WithSimd for AtWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Range { start, end } = self.f.band;
        let step = WIDTH * S::F32_LANES;
        for column in (0..self.width).step_by(step) {
            let mut k = start;
            while k < end {
                k += match end - k {
                    8.. => self.block::<S, 8>(simd, k, column),
                    4.. => self.block::<S, 4>(simd, k, column),
                    _ => self.block::<S, 1>(simd, k, column),
                };
            }
        }
    }
}

impl AtWeights<'_> {
    /// `R` rows of ∂W from `k` on, the columns from `column` on; `R`.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(&mut self, simd: S, k: usize, column: usize) -> usize {
        let step = WIDTH * S::F32_LANES;
        let mut sums = [[Lanes::splat(simd, 0.0); WIDTH]; R];
        let lines = self.f.rows.chunks_exact(self.f.stride).zip(self.at_y.chunks_exact(self.width));
        for (line, at_y) in lines {
            let (line, g) = (&line[k..k + R], Row::new(simd, &at_y[column..], step));
            for r in 0..R {
                let f = Lanes::splat(simd, line[r]);
                for v in 0..WIDTH {
                    sums[r][v] = f.times_plus(g.at(v), sums[r][v]);
                }
            }
        }
        for r in 0..R {
            let mut at_weights = RowMut::new(simd, &mut self.at_weights[(k + r) * self.width + column..], step);
            for v in 0..WIDTH {
                at_weights.add(v, sums[r][v]);
            }
        }
        R
    }
}

struct AtRows<'a> {
    f: &'a Band<'a>,
    at_y: &'a [f32],
    weights: &'a [f32],
    width: usize,
    at_rows: &'a mut [f32],
}

impl WithSimd for AtRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (rows, Range { start, end }) = (self.f.len(), self.f.band.clone());
        let mut row = 0;
        while row < rows {
            let height = if rows - row >= 4 { 4 } else { 1 };
            let mut k = start;
            while k < end {
                k += match (height, end - k) {
                    (4, 4..) => self.block::<S, 4, 4>(simd, row, k),
                    (4, _) => self.block::<S, 4, 1>(simd, row, k),
                    (_, 4..) => self.block::<S, 1, 4>(simd, row, k),
                    _ => self.block::<S, 1, 1>(simd, row, k),
                };
            }
            row += height;
        }
    }
}

impl AtRows<'_> {
    /// `R` rows from `row` on, `C` columns from `k` on; `C`.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, row: usize, k: usize) -> usize {
        let width = self.width;
        let g: [Row<'_, S>; R] = std::array::from_fn(|r| Row::new(simd, &self.at_y[(row + r) * width..], width));
        let w: [Row<'_, S>; C] = std::array::from_fn(|c| Row::new(simd, &self.weights[(k + c) * width..], width));
        let mut sums = [[Lanes::splat(simd, 0.0); C]; R];
        for v in 0..width / S::F32_LANES {
            for r in 0..R {
                let g = g[r].at(v);
                for c in 0..C {
                    sums[r][c] = g.times_plus(w[c].at(v), sums[r][c]);
                }
            }
        }
        for r in 0..R {
            let slots = &mut self.at_rows[(row + r) * self.f.stride + k..][..C];
            for c in 0..C {
                slots[c] += sums[r][c].sum();
            }
        }
        C
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, whose sums are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 17) as f32 - 8.0).collect()
    }

    /// y = 2 (F W + column) + row.
    struct Places;

    impl Finish for Places {
        #[inline(always)]
        fn offset<S: Simd>(&self, simd: S, column: usize) -> Lanes<S> {
            let columns: [f32; 16] = std::array::from_fn(|lane| (column + lane) as f32);
            Row::new(simd, &columns, S::F32_LANES).at(0)
        }

        #[inline(always)]
        fn finish<S: Simd>(&mut self, _: S, row: usize, _: usize, numbers: &mut [f32]) {
            numbers.iter_mut().for_each(|y| *y = 2.0 * *y + row as f32);
        }
    }

    #[test]
    fn products_are_finished_once_and_in_place() {
        let (stride, width, inputs) = (16, 64, 11);
        for rows in [0, 1, 5, 12, 17] {
            let (f, weights) = (numbers(rows * stride, 1), numbers(inputs * width, 2));
            let of = Band { rows: &f, stride, band: 0..inputs };
            let mut plain = vec![f32::NAN; rows * width];
            of.product(&weights, width, Keep, &mut plain);
            for scalar in [false, true] {
                let mut y = vec![f32::NAN; rows * width];
                match scalar {
                    true => {
                        Product { f: &of, weights: &weights, width, finish: Places, y: &mut y }.with_simd(pulp::Scalar)
                    }
                    false => of.product(&weights, width, Places, &mut y),
                }
                for (place, (&found, plain)) in y.iter().zip(&plain).enumerate() {
                    let (row, column) = (place / width, place % width);
                    assert_eq!(found, 2.0 * (plain + column as f32) + row as f32, "[{row}, {column}] of {rows} rows");
                }
            }
        }
    }

    #[test]
    fn products_equal_their_definition() {
        let (stride, width, inputs) = (32, 96, 29);
        for rows in [0, 1, 3, 4, 12, 13, 29] {
            for band in [0..0, 5..6, 3..10, 0..8, 1..14, 2..29] {
                let mut f = numbers(rows * stride, 1);
                f.chunks_exact_mut(stride).for_each(|row| {
                    (0..stride).filter(|k| !band.contains(k)).for_each(|k| row[k] = 0.0);
                });
                let (weights, at_y) = (numbers(inputs * width, 2), numbers(rows * width, 3));
                let of = Band { rows: &f, stride, band: band.clone() };
                let sum = |terms: &mut dyn Iterator<Item = f32>| terms.sum::<f32>();
                let name = format!("{rows} rows, band {band:?}");

                let mut y = vec![f32::NAN; rows * width];
                of.product(&weights, width, Keep, &mut y);
                let mut at_weights = numbers(inputs * width, 4);
                of.at_weights(&at_y, width, &mut at_weights);
                let mut at_rows = numbers(rows * stride, 5);
                of.at_rows(&at_y, &weights, width, &mut at_rows);
                let entry = |t: usize, k: usize| f[t * stride + k];
                for t in 0..rows {
                    for c in 0..width {
                        let expected = sum(&mut (0..inputs).map(|k| entry(t, k) * weights[k * width + c]));
                        assert_eq!(y[t * width + c], expected, "{name}: y[{t}, {c}]");
                    }
                    for k in 0..stride {
                        let added = match band.contains(&k) {
                            true => sum(&mut (0..width).map(|c| at_y[t * width + c] * weights[k * width + c])),
                            false => 0.0,
                        };
                        let expected = numbers(rows * stride, 5)[t * stride + k] + added;
                        assert_eq!(at_rows[t * stride + k], expected, "{name}: ∂F[{t}, {k}]");
                    }
                }
                for k in 0..inputs {
                    for c in 0..width {
                        let added = sum(&mut (0..rows).map(|t| entry(t, k) * at_y[t * width + c]));
                        let expected = numbers(inputs * width, 4)[k * width + c] + added;
                        assert_eq!(at_weights[k * width + c], expected, "{name}: ∂W[{k}, {c}]");
                    }
                }
            }
        }
    }
}
