//! The activation of gated transitions, on the rows of a matrix.

use pulp::{Simd, WithSimd};

use super::{Lanes, Strip, StripMut, dispatch};

/// y = v silu(g) for rows [v | g] of `x`, (N, 2 width), and y (N, width).
pub(crate) fn gated_silu(x: &[f32], width: usize, y: &mut [f32]) {
    struct Kernel<'a>(&'a [f32], usize, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for (x, y) in self.0.chunks_exact(2 * self.1).zip(self.2.chunks_exact_mut(self.1)) {
                let (value, gate) = x.split_at(self.1);
                let (value, gate, mut y) = (Strip::new(simd, value), Strip::new(simd, gate), StripMut::new(simd, y));
                for k in 0..value.len() {
                    let g = gate.at(k);
                    y.set(k, value.at(k) * (g * g.sigmoid()));
                }
            }
        }
    }
    dispatch(Kernel(x, width, y));
}

/// The way back through [`gated_silu`]: `x` is replaced by the gradient at it, and the gradient at y, in `y`, by y.
pub(crate) fn gated_silu_back(x: &mut [f32], width: usize, y: &mut [f32]) {
    struct Kernel<'a>(&'a mut [f32], usize, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let one = Lanes::splat(simd, 1.0);
            for (x, y) in self.0.chunks_exact_mut(2 * self.1).zip(self.2.chunks_exact_mut(self.1)) {
                let (value, gate) = x.split_at_mut(self.1);
                let mut value = StripMut::new(simd, value);
                let (mut gate, mut y) = (StripMut::new(simd, gate), StripMut::new(simd, y));
                for k in 0..value.len() {
                    let (v, g, at_y) = (value.at(k), gate.at(k), y.at(k));
                    let sigma = g.sigmoid();
                    let silu = g * sigma;
                    y.set(k, v * silu);
                    value.set(k, at_y * silu);
                    gate.set(k, at_y * v * sigma * g.times_plus(one - sigma, one));
                }
            }
        }
    }
    dispatch(Kernel(x, width, y));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{largest_error, numbers, wide};

    #[test]
    fn gates_and_their_gradients_equal_the_definition() {
        for (rows, width) in [(0, 16), (1, 1), (3, 20), (5, 64)] {
            let (x, g) = (numbers(rows * 2 * width, 1), numbers(rows * width, 2));
            let mut y = vec![f32::NAN; rows * width];
            gated_silu(&x, width, &mut y);
            let (mut at_x, mut again) = (x.clone(), g.clone());
            gated_silu_back(&mut at_x, width, &mut again);
            assert_eq!(y, again);

            let (x, g) = (wide(&x), wide(&g));
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let of = |value: f64, gate: f64| value * silu(gate);
            let place = |at: usize| (at / width) * 2 * width + at % width;
            let exact: Vec<f64> = (0..rows * width).map(|at| of(x[place(at)], x[place(at) + width])).collect();
            let mut exact_at = vec![0.0; x.len()];
            for at in 0..rows * width {
                let (value, gate, step) = (x[place(at)], x[place(at) + width], 1e-6);
                exact_at[place(at)] = g[at] * silu(gate);
                exact_at[place(at) + width] = g[at] * (of(value, gate + step) - of(value, gate - step)) / (2.0 * step);
            }
            for (name, found, expected) in [("y", &y, exact), ("∂x", &at_x, exact_at)] {
                let error = largest_error(found, &expected);
                assert!(error < 1e-6, "{name}, {rows} rows of {width}: {error:e}");
            }
        }
    }
}
