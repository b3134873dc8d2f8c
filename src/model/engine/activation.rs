//! Biases and activations on the rows of a matrix, (N, width).

use pulp::{Simd, WithSimd};

use super::{Lanes, Row, RowMut, dispatch};

/// y ← y + b in every row.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.1.len();
            let bias = Row::new(simd, self.1, width);
            for y in self.0.chunks_exact_mut(width) {
                let mut y = RowMut::new(simd, y, width);
                for k in 0..bias.len() {
                    y.add(k, bias.at(k));
                }
            }
        }
    }
    dispatch(Kernel(y, bias));
}

/// y ← y + b in every row, and s = silu(y).
pub(crate) fn add_bias_silu(y: &mut [f32], bias: &[f32], s: &mut [f32]) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32], &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.1.len();
            let bias = Row::new(simd, self.1, width);
            for (y, s) in self.0.chunks_exact_mut(width).zip(self.2.chunks_exact_mut(width)) {
                let (mut y, mut s) = (RowMut::new(simd, y, width), RowMut::new(simd, s, width));
                for k in 0..bias.len() {
                    let value = y.at(k) + bias.at(k);
                    y.set(k, value);
                    s.set(k, value * value.sigmoid());
                }
            }
        }
    }
    dispatch(Kernel(y, bias, s));
}

/// d ← d silu′(y): from the gradient at silu(y) to the gradient at y. Rows have any length.
pub(crate) fn silu_back(d: &mut [f32], y: &[f32], width: usize) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32], usize);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let one = Lanes::splat(simd, 1.0);
            for (d, y) in self.0.chunks_exact_mut(self.2).zip(self.1.chunks_exact(self.2)) {
                let (mut d, y) = (RowMut::new(simd, d, self.2), Row::new(simd, y, self.2));
                for k in 0..y.len() {
                    let (value, sigma) = (y.at(k), y.at(k).sigmoid());
                    d.set(k, d.at(k) * sigma * value.times_plus(one - sigma, one));
                }
            }
        }
    }
    dispatch(Kernel(d, y, width));
}

/// sums ← sums + Σ_n rows[n]: a bias's gradient.
pub(crate) fn add_column_sums(sums: &mut [f32], rows: &[f32]) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.0.len();
            let mut sums = RowMut::new(simd, self.0, width);
            for row in self.1.chunks_exact(width) {
                let row = Row::new(simd, row, width);
                for k in 0..row.len() {
                    sums.add(k, row.at(k));
                }
            }
        }
    }
    dispatch(Kernel(sums, rows));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{WIDTHS, largest_error, numbers, wide};

    const ROWS: usize = 7;

    fn silu(y: f64) -> f64 {
        y / (1.0 + (-y).exp())
    }

    fn check(name: &str, width: usize, found: &[f32], expected: impl Iterator<Item = f64>) {
        let error = largest_error(found, &expected.collect::<Vec<_>>());
        assert!(error < 1e-6, "{name}, width {width}: {error:e}");
    }

    #[test]
    fn rows_equal_their_definition() {
        for width in WIDTHS {
            let (x, bias, g) = (numbers(ROWS * width, 1), numbers(width, 2), numbers(ROWS * width, 5));
            let (mut plain, mut y) = (x.clone(), x.clone());
            let mut s = vec![f32::NAN; x.len()];
            add_bias(&mut plain, &bias);
            add_bias_silu(&mut y, &bias, &mut s);
            let mut d = g.clone();
            silu_back(&mut d, &y, width);
            let mut sums = bias.clone();
            add_column_sums(&mut sums, &x);

            let [x, bias, g] = [&x, &bias, &g].map(|v| wide(v));
            let places = || (0..ROWS).flat_map(|n| (0..width).map(move |c| (n, c)));
            let exact = |(n, c): (usize, usize)| x[n * width + c] + bias[c];
            check("y + b", width, &plain, places().map(exact));
            check("y", width, &y, places().map(exact));
            check("silu", width, &s, places().map(|place| silu(exact(place))));
            let slope = |y: f64| (silu(y + 1e-5) - silu(y - 1e-5)) / 2e-5;
            check("silu′", width, &d, places().map(|(n, c)| g[n * width + c] * slope(exact((n, c)))));
            let column = |c: usize| bias[c] + (0..ROWS).map(|n| x[n * width + c]).sum::<f64>();
            check("sums", width, &sums, (0..width).map(column));
            let before = sums.clone();
            add_column_sums(&mut sums, &[]);
            assert_eq!(sums, before);
        }
    }
}
