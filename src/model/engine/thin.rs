//! Products of a matrix with few rows and a large one: what is computed once per cloud, not once per point. They cost
//! what reading the large matrix costs, so it is read once, from its beginning to its end.
//!
//! W is (outputs, inputs); x has rows of `inputs`, y of `outputs` numbers. A row's bits do not depend on the others.

use pulp::{Simd, WithSimd};

use super::{Lanes, Store, Strip, StripMut, dispatch};

/// Rows of W that are worked on together, and rows of x.
const BLOCK: usize = 4;

/// y = x Wᵀ.
pub(crate) fn thin_product(x: &[f32], weight: &[f32], inputs: usize, y: &mut [f32]) {
    struct Kernel<'a> {
        x: &'a [f32],
        weight: &'a [f32],
        inputs: usize,
        y: &'a mut [f32],
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) {
            let (rows, outputs) = (self.x.len() / self.inputs, self.weight.len() / self.inputs);
            let mut output = 0;
            while output < outputs {
                let count = if outputs - output < BLOCK { 1 } else { BLOCK };
                let mut row = 0;
                while row < rows {
                    row += match (rows - row < BLOCK, count) {
                        (false, BLOCK) => self.block::<S, BLOCK, BLOCK>(simd, row, output),
                        (true, BLOCK) => self.block::<S, 1, BLOCK>(simd, row, output),
                        (false, _) => self.block::<S, BLOCK, 1>(simd, row, output),
                        (true, _) => self.block::<S, 1, 1>(simd, row, output),
                    };
                }
                output += count;
            }
        }
    }
    impl Kernel<'_> {
        /// `R` rows from `row` on, `C` outputs from `output` on; `R`.
        #[inline(always)]
        fn block<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, row: usize, output: usize) -> usize {
            let (inputs, outputs) = (self.inputs, self.weight.len() / self.inputs);
            let x: [Strip<'_, S>; R] =
                std::array::from_fn(|r| Strip::new(simd, &self.x[(row + r) * inputs..][..inputs]));
            let w: [Strip<'_, S>; C] =
                std::array::from_fn(|c| Strip::new(simd, &self.weight[(output + c) * inputs..][..inputs]));
            let mut sums = [[Lanes::splat(simd, 0.0); C]; R];
            for k in 0..w[0].len() {
                for c in 0..C {
                    let w = w[c].at(k);
                    for r in 0..R {
                        sums[r][c] = w.times_plus(x[r].at(k), sums[r][c]);
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    self.y[(row + r) * outputs + output + c] = sums[r][c].sum();
                }
            }
            R
        }
    }
    if !x.is_empty() {
        dispatch(Kernel { x, weight, inputs, y });
    }
}

/// ∂x += ∂y W.
pub(crate) fn thin_back(at_y: &[f32], weight: &[f32], inputs: usize, at_x: &mut [f32]) {
    struct Kernel<'a> {
        at_y: &'a [f32],
        weight: &'a [f32],
        inputs: usize,
        at_x: &'a mut [f32],
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) {
            let outputs = self.weight.len() / self.inputs;
            let mut output = 0;
            while output < outputs {
                output += match outputs - output {
                    BLOCK.. => self.block::<S, BLOCK>(simd, output),
                    _ => self.block::<S, 1>(simd, output),
                };
            }
        }
    }
    impl Kernel<'_> {
        /// What `C` outputs from `output` on contribute; `C`.
        #[inline(always)]
        fn block<S: Simd, const C: usize>(&mut self, simd: S, output: usize) -> usize {
            let (inputs, outputs) = (self.inputs, self.weight.len() / self.inputs);
            let w: [Strip<'_, S>; C] =
                std::array::from_fn(|c| Strip::new(simd, &self.weight[(output + c) * inputs..][..inputs]));
            for (at_x, at_y) in self.at_x.chunks_exact_mut(inputs).zip(self.at_y.chunks_exact(outputs)) {
                let mut at_x = StripMut::new(simd, at_x);
                let g: [Lanes<S>; C] = std::array::from_fn(|c| Lanes::splat(simd, at_y[output + c]));
                for k in 0..at_x.len() {
                    let mut sum = at_x.at(k);
                    for c in 0..C {
                        sum = g[c].times_plus(w[c].at(k), sum);
                    }
                    at_x.set(k, sum);
                }
            }
            C
        }
    }
    dispatch(Kernel { at_y, weight, inputs, at_x });
}

/// ∂W = ∂yᵀ x, or ∂W += ∂yᵀ x.
pub(crate) fn thin_at_weight(at_y: &[f32], x: &[f32], inputs: usize, store: Store, at_weight: &mut [f32]) {
    struct Kernel<'a> {
        at_y: &'a [f32],
        x: &'a [f32],
        inputs: usize,
        store: Store,
        at_weight: &'a mut [f32],
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (inputs, outputs) = (self.inputs, self.at_weight.len() / self.inputs);
            for (output, at_weight) in self.at_weight.chunks_exact_mut(inputs).enumerate() {
                let mut at_weight = StripMut::new(simd, at_weight);
                for (row, x) in self.x.chunks_exact(inputs).enumerate() {
                    let (g, x) = (Lanes::splat(simd, self.at_y[row * outputs + output]), Strip::new(simd, x));
                    let fresh = row == 0 && self.store == Store::Replace;
                    for k in 0..x.len() {
                        let before = if fresh { Lanes::splat(simd, 0.0) } else { at_weight.at(k) };
                        at_weight.set(k, g.times_plus(x.at(k), before));
                    }
                }
            }
        }
    }
    if at_y.is_empty() {
        if store == Store::Replace {
            at_weight.fill(0.0);
        }
    } else {
        dispatch(Kernel { at_y, x, inputs, store, at_weight });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{largest_error, numbers, wide};

    #[test]
    fn thin_products_equal_their_definition() {
        for (inputs, outputs) in [(1, 1), (24, 7), (16, 4), (57, 20), (128, 33)] {
            let weight = numbers(inputs * outputs, 1);
            for rows in [0, 1, 3, 4, 9] {
                let (x, at_y) = (numbers(rows * inputs, 2), numbers(rows * outputs, 3));
                let mut y = vec![f32::NAN; rows * outputs];
                thin_product(&x, &weight, inputs, &mut y);
                let mut at_x = numbers(rows * inputs, 4);
                thin_back(&at_y, &weight, inputs, &mut at_x);
                let mut at_weight = [numbers(inputs * outputs, 5), vec![f32::NAN; inputs * outputs]];
                thin_at_weight(&at_y, &x, inputs, Store::Add, &mut at_weight[0]);
                thin_at_weight(&at_y, &x, inputs, Store::Replace, &mut at_weight[1]);

                let [w, x, g] = [&weight, &x, &at_y].map(|v| wide(v));
                let before = [wide(&numbers(rows * inputs, 4)), wide(&numbers(inputs * outputs, 5))];
                let exact = |of: &dyn Fn(usize, usize) -> f64, (n, m): (usize, usize)| -> Vec<f64> {
                    (0..n * m).map(|at| of(at / m, at % m)).collect()
                };
                let exact_y =
                    exact(&|r, o| (0..inputs).map(|i| x[r * inputs + i] * w[o * inputs + i]).sum(), (rows, outputs));
                let exact_x = exact(
                    &|r, i| {
                        let sum: f64 = (0..outputs).map(|o| g[r * outputs + o] * w[o * inputs + i]).sum();
                        before[0][r * inputs + i] + sum
                    },
                    (rows, inputs),
                );
                let outer = |o: usize, i: usize| (0..rows).map(|r| g[r * outputs + o] * x[r * inputs + i]).sum::<f64>();
                let exact_w = exact(&|o, i| before[1][o * inputs + i] + outer(o, i), (outputs, inputs));
                let fresh = exact(&outer, (outputs, inputs));
                for (name, found, expected) in [
                    ("y", &y, exact_y),
                    ("∂x", &at_x, exact_x),
                    ("∂W, added", &at_weight[0], exact_w),
                    ("∂W", &at_weight[1], fresh),
                ] {
                    let error = largest_error(found, &expected);
                    assert!(error < 2e-6, "{name}, {inputs} to {outputs}, {rows} rows: {error:e}");
                }
            }
        }
    }

    #[test]
    fn a_thin_row_does_not_depend_on_the_others() {
        let (inputs, outputs) = (37, 22);
        let (x, at_y) = (numbers(9 * inputs, 1), numbers(9 * outputs, 2));
        let weight = numbers(inputs * outputs, 3);
        let of = |rows: std::ops::Range<usize>| {
            let mut y = vec![0.0; rows.len() * outputs];
            thin_product(&x[rows.start * inputs..rows.end * inputs], &weight, inputs, &mut y);
            let mut at_x = vec![0.0; rows.len() * inputs];
            thin_back(&at_y[rows.start * outputs..rows.end * outputs], &weight, inputs, &mut at_x);
            (y, at_x)
        };
        let (y, at_x) = of(0..9);
        for row in 0..9 {
            let (one, at_one) = of(row..row + 1);
            assert_eq!(one, y[row * outputs..][..outputs], "row {row}");
            assert_eq!(at_one, at_x[row * inputs..][..inputs], "row {row}");
        }
    }
}
