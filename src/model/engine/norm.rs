//! Layer norm over the rows of a matrix, (N, width).

use pulp::{Simd, WithSimd};

use super::{Lanes, Row, RowMut, Strip, StripMut, dispatch};

const EPSILON: f32 = 1e-5;

/// A layer norm's parameters, or the gradients at them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNorm<T> {
    /// The factor of each channel.
    pub(crate) weight: T,
    /// What is added to each channel.
    pub(crate) bias: T,
}

/// A sum over the vectors of a row, to which `add` adds the k-th vector's part: four sums in turn, so that none waits for
/// the one before.
#[inline(always)]
fn interleaved<S: Simd>(simd: S, len: usize, mut add: impl FnMut(usize, Lanes<S>) -> Lanes<S>) -> Lanes<S> {
    const SUMS: usize = 4;
    let mut sums = [Lanes::splat(simd, 0.0); SUMS];
    let whole = len / SUMS * SUMS;
    for k in (0..whole).step_by(SUMS) {
        for part in 0..SUMS {
            sums[part] = add(k + part, sums[part]);
        }
    }
    for k in whole..len {
        sums[0] = add(k, sums[0]);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// x ← x̂ = (x − mean) / √(variance + 1e-5) for a row of any length; 1/√(variance + 1e-5).
#[inline(always)]
pub(crate) fn normalise<S: Simd>(simd: S, x: &mut StripMut<'_, S>, width: usize) -> f32 {
    let total = interleaved(simd, x.len(), |k, total| total + x.at(k));
    let mean = Lanes::splat(simd, total.sum() / width as f32);
    let squares = interleaved(simd, x.len(), |k, squares| {
        let centred = x.put(k, x.at(k) - mean);
        centred.times_plus(centred, squares)
    });
    let scale = 1.0 / (squares.sum() / width as f32 + EPSILON).sqrt();
    let factor = Lanes::splat(simd, scale);
    for k in 0..x.len() {
        x.set(k, x.at(k) * factor);
    }
    scale
}

/// From the gradient at x̂, in `d`, to that at x, in place, given what [`normalise`] left and returned.
#[inline(always)]
pub(crate) fn normalise_back<S: Simd>(
    simd: S,
    d: &mut StripMut<'_, S>,
    normal: &Strip<'_, S>,
    scale: f32,
    width: usize,
) {
    let (mut sum, mut product) = (Lanes::splat(simd, 0.0), Lanes::splat(simd, 0.0));
    for k in 0..d.len() {
        let at_x = d.at(k);
        sum = sum + at_x;
        product = at_x.times_plus(normal.at(k), product);
    }
    let mean = Lanes::splat(simd, sum.sum() / width as f32);
    let correlation = Lanes::splat(simd, product.sum() / width as f32);
    let scale = Lanes::splat(simd, scale);
    for k in 0..d.len() {
        d.set(k, scale * (d.at(k) - mean - normal.at(k) * correlation));
    }
}

/// [`normalise`] for rows of `width` numbers; 1/√(variance + 1e-5) of each goes to `scale`.
pub(crate) fn normalise_rows(x: &mut [f32], width: usize, scale: &mut [f32]) {
    struct Kernel<'a>(&'a mut [f32], usize, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for (x, scale) in self.0.chunks_exact_mut(self.1).zip(self.2) {
                *scale = normalise(simd, &mut StripMut::new(simd, x), self.1);
            }
        }
    }
    dispatch(Kernel(x, width, scale));
}

/// [`normalise_back`] for rows of `width` numbers.
pub(crate) fn normalise_rows_back(d: &mut [f32], normal: &[f32], scale: &[f32], width: usize) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32], &'a [f32], usize);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let rows = self.0.chunks_exact_mut(self.3).zip(self.1.chunks_exact(self.3));
            for ((d, normal), &scale) in rows.zip(self.2) {
                normalise_back(simd, &mut StripMut::new(simd, d), &Strip::new(simd, normal), scale, self.3);
            }
        }
    }
    dispatch(Kernel(d, normal, scale, width));
}

/// y = w x̂ + b for each row.
pub(crate) fn affine_rows(normal: &[f32], norm: LayerNorm<&[f32]>, y: &mut [f32]) {
    struct Kernel<'a>(&'a [f32], LayerNorm<&'a [f32]>, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.1.weight.len();
            let (weight, bias) = (Strip::new(simd, self.1.weight), Strip::new(simd, self.1.bias));
            for (x, y) in self.0.chunks_exact(width).zip(self.2.chunks_exact_mut(width)) {
                let (x, mut y) = (Strip::new(simd, x), StripMut::new(simd, y));
                for k in 0..x.len() {
                    y.set(k, x.at(k).times_plus(weight.at(k), bias.at(k)));
                }
            }
        }
    }
    dispatch(Kernel(normal, norm, y));
}

/// The way back through [`affine_rows`]: from the gradient at y to that at x̂, in place in `d`. *Adds* the gradients at
/// w and b to `at_norm`.
pub(crate) fn affine_rows_back(d: &mut [f32], normal: &[f32], weight: &[f32], at_norm: LayerNorm<&mut [f32]>) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32], &'a [f32], LayerNorm<&'a mut [f32]>);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.2.len();
            let weight = Strip::new(simd, self.2);
            let mut at_weight = StripMut::new(simd, self.3.weight);
            let mut at_bias = StripMut::new(simd, self.3.bias);
            for (d, x) in self.0.chunks_exact_mut(width).zip(self.1.chunks_exact(width)) {
                let (mut d, x) = (StripMut::new(simd, d), Strip::new(simd, x));
                for k in 0..x.len() {
                    let g = d.at(k);
                    at_weight.set(k, g.times_plus(x.at(k), at_weight.at(k)));
                    at_bias.add(k, g);
                    d.set(k, g * weight.at(k));
                }
            }
        }
    }
    dispatch(Kernel(d, normal, weight, at_norm));
}

/// y = w x̂ + b with x̂ = (x + bias − mean) / √(variance + 1e-5), where `bias` is that of the linear layer
/// before. Leaves x̂ in the place of x, and 1/√(variance + 1e-5) of each row in `scale`.
pub(crate) fn layer_norm(x: &mut [f32], bias: &[f32], norm: LayerNorm<&[f32]>, scale: &mut [f32], y: &mut [f32]) {
    struct Kernel<'a> {
        x: &'a mut [f32],
        bias: &'a [f32],
        norm: LayerNorm<&'a [f32]>,
        scale: &'a mut [f32],
        y: &'a mut [f32],
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.bias.len();
            let bias = Row::new(simd, self.bias, width);
            let (weight, shift) = (Row::new(simd, self.norm.weight, width), Row::new(simd, self.norm.bias, width));
            let rows = self.x.chunks_exact_mut(width).zip(self.y.chunks_exact_mut(width));
            for ((x, y), scale) in rows.zip(self.scale) {
                let (mut x, mut y) = (RowMut::new(simd, x, width), RowMut::new(simd, y, width));
                let mut total = Lanes::splat(simd, 0.0);
                for k in 0..bias.len() {
                    let value = x.at(k) + bias.at(k);
                    x.set(k, value);
                    total = total + value;
                }
                let mean = Lanes::splat(simd, total.sum() / width as f32);
                let mut squares = Lanes::splat(simd, 0.0);
                for k in 0..bias.len() {
                    let centred = x.at(k) - mean;
                    x.set(k, centred);
                    squares = centred.times_plus(centred, squares);
                }
                *scale = 1.0 / (squares.sum() / width as f32 + EPSILON).sqrt();
                let factor = Lanes::splat(simd, *scale);
                for k in 0..bias.len() {
                    let normal = x.at(k) * factor;
                    x.set(k, normal);
                    y.set(k, normal.times_plus(weight.at(k), shift.at(k)));
                }
            }
        }
    }
    dispatch(Kernel { x, bias, norm, scale, y });
}

/// From the gradient at y to the gradient at x, in place in `d`, given x̂ and the scales that [`layer_norm`] left.
/// *Adds* the gradients at w and b to `at_norm`.
pub(crate) fn layer_norm_back(
    d: &mut [f32],
    normal: &[f32],
    scale: &[f32],
    weight: &[f32],
    at_norm: LayerNorm<&mut [f32]>,
) {
    struct Kernel<'a> {
        d: &'a mut [f32],
        normal: &'a [f32],
        scale: &'a [f32],
        weight: &'a [f32],
        at_norm: LayerNorm<&'a mut [f32]>,
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.weight.len();
            let weight = Row::new(simd, self.weight, width);
            let mut at_weight = RowMut::new(simd, self.at_norm.weight, width);
            let mut at_bias = RowMut::new(simd, self.at_norm.bias, width);
            let rows = self.d.chunks_exact_mut(width).zip(self.normal.chunks_exact(width));
            for ((d, normal), &scale) in rows.zip(self.scale) {
                let (mut d, normal) = (RowMut::new(simd, d, width), Row::new(simd, normal, width));
                let (mut sum, mut product) = (Lanes::splat(simd, 0.0), Lanes::splat(simd, 0.0));
                for k in 0..weight.len() {
                    let (at_y, x) = (d.at(k), normal.at(k));
                    at_weight.add(k, at_y * x);
                    at_bias.add(k, at_y);
                    let at_x = at_y * weight.at(k);
                    d.set(k, at_x);
                    sum = sum + at_x;
                    product = at_x.times_plus(x, product);
                }
                let mean = Lanes::splat(simd, sum.sum() / width as f32);
                let correlation = Lanes::splat(simd, product.sum() / width as f32);
                let scale = Lanes::splat(simd, scale);
                for k in 0..weight.len() {
                    d.set(k, scale * (d.at(k) - mean - normal.at(k) * correlation));
                }
            }
        }
    }
    dispatch(Kernel { d, normal, scale, weight, at_norm });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{WIDTHS, largest_error, numbers, wide};

    /// The definition: y, x̂ and the scales.
    fn exact(x: &[f64], width: usize, [bias, weight, shift]: [&[f64]; 3]) -> [Vec<f64>; 3] {
        let mut results = [const { Vec::new() }; 3];
        for x in x.chunks_exact(width) {
            let moved: Vec<f64> = x.iter().zip(bias).map(|(x, b)| x + b).collect();
            let mean = moved.iter().sum::<f64>() / width as f64;
            let variance = moved.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            let normal: Vec<f64> = moved.iter().map(|x| (x - mean) * scale).collect();
            results[0].extend((0..width).map(|c| normal[c] * weight[c] + shift[c]));
            results[1].extend(normal);
            results[2].push(scale);
        }
        results
    }

    /// ⟨g, y⟩ for the y of [`exact`].
    fn value(x: &[f64], width: usize, parameters: [&[f64]; 3], g: &[f64]) -> f64 {
        exact(x, width, parameters)[0].iter().zip(g).map(|(y, g)| y * g).sum()
    }

    #[test]
    fn rows_of_any_width_equal_the_definition() {
        for width in [1, 7, 16, 57, 70, 138] {
            let (x, g) = (numbers(3 * width, 1), numbers(3 * width, 2));
            let (mut normal, mut scale) = (x.clone(), vec![f32::NAN; 3]);
            normalise_rows(&mut normal, width, &mut scale);
            let mut d = g.clone();
            normalise_rows_back(&mut d, &normal, &scale, width);
            let (ones, zeros) = (vec![1.0; width], vec![0.0; width]);
            let [x, g] = [&x, &g].map(|v| wide(v));
            let [_, exact_normal, exact_scale] = exact(&x, width, [&zeros, &ones, &zeros]);
            let exact_d: Vec<f64> = (0..x.len())
                .map(|at| {
                    let row = at / width * width..(at / width + 1) * width;
                    let mean = |of: &dyn Fn(usize) -> f64| row.clone().map(of).sum::<f64>() / width as f64;
                    let correlation = mean(&|k| g[k] * exact_normal[k]);
                    exact_scale[at / width] * (g[at] - mean(&|k| g[k]) - exact_normal[at] * correlation)
                })
                .collect();
            let largest = exact_d.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let worst = d.iter().zip(&exact_d).fold(0.0, |a: f64, (d, e)| a.max((f64::from(*d) - e).abs()));
            assert!(worst < 1e-5 * largest.max(1.0), "∂x, width {width}: {worst:e} of {largest:e}");
            assert!(width == 1 || largest_error(&normal, &exact_normal) < 1e-5, "x̂, width {width}");
            assert!(largest_error(&scale, &exact_scale) < 1e-5, "scale, width {width}");
        }
    }

    #[test]
    fn norms_and_their_gradients_equal_the_definition() {
        for width in WIDTHS {
            for rows in [0, 1, 7] {
                // The last row hardly varies: there ε counts.
                let mut x = numbers(rows * width, 1);
                x.iter_mut().skip(width * rows.saturating_sub(1)).for_each(|x| *x = 1.0 + 1e-2 * *x);
                let (bias, weight, shift) = (numbers(width, 2), numbers(width, 3), numbers(width, 4));
                let g = numbers(rows * width, 5);
                let bias: Vec<f32> = bias.iter().map(|b| 1e-2 * b).collect();
                let mut normal = x.clone();
                let (mut scale, mut y) = (vec![f32::NAN; rows], vec![f32::NAN; rows * width]);
                layer_norm(&mut normal, &bias, LayerNorm { weight: &weight, bias: &shift }, &mut scale, &mut y);
                let (mut d, before) = (g.clone(), numbers(2 * width, 6));
                let (mut at_weight, mut at_bias) = (before[..width].to_vec(), before[width..].to_vec());
                let at_norm = LayerNorm { weight: &mut at_weight[..], bias: &mut at_bias[..] };
                layer_norm_back(&mut d, &normal, &scale, &weight, at_norm);

                // The same in pieces.
                let mut pieces: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + bias[i % width]).collect();
                let (mut piece_scale, mut piece_y) = (vec![f32::NAN; rows], vec![f32::NAN; rows * width]);
                normalise_rows(&mut pieces, width, &mut piece_scale);
                affine_rows(&pieces, LayerNorm { weight: &weight, bias: &shift }, &mut piece_y);
                let mut piece_d = g.clone();
                let (mut piece_w, mut piece_b) = (before[..width].to_vec(), before[width..].to_vec());
                let at_norm = LayerNorm { weight: &mut piece_w[..], bias: &mut piece_b[..] };
                affine_rows_back(&mut piece_d, &pieces, &weight, at_norm);
                normalise_rows_back(&mut piece_d, &pieces, &piece_scale, width);

                let [x, bias, weight, shift, g, before] = [&x, &bias, &weight, &shift, &g, &before].map(|v| wide(v));
                let of = |x: &[f64], weight: &[f64], shift: &[f64]| value(x, width, [&bias, weight, shift], &g);
                let [exact_y, exact_normal, exact_scale] = exact(&x, width, [&bias, &weight, &shift]);
                let slope = |variable: &[f64], index: usize, of: &dyn Fn(&[f64]) -> f64| {
                    let step = 1e-6;
                    let at = |change: f64| {
                        let mut moved = variable.to_vec();
                        moved[index] += change;
                        of(&moved)
                    };
                    (at(step) - at(-step)) / (2.0 * step)
                };
                let exact_d: Vec<f64> = (0..x.len()).map(|i| slope(&x, i, &|x| of(x, &weight, &shift))).collect();
                let at: Vec<f64> = (0..width)
                    .map(|c| before[c] + slope(&weight, c, &|weight| of(&x, weight, &shift)))
                    .chain((0..width).map(|c| before[width + c] + slope(&shift, c, &|shift| of(&x, &weight, shift))))
                    .collect();
                for (name, found, expected) in [
                    ("y in pieces", &piece_y, exact_y.clone()),
                    ("x̂ in pieces", &pieces, exact_normal.clone()),
                    ("scale in pieces", &piece_scale, exact_scale.clone()),
                    ("∂x in pieces", &piece_d, exact_d.clone()),
                    ("∂w, ∂b in pieces", &[piece_w, piece_b].concat(), at.clone()),
                    ("y", &y, exact_y),
                    ("x̂", &normal, exact_normal),
                    ("scale", &scale, exact_scale),
                    ("∂x", &d, exact_d),
                    ("∂w, ∂b", &[at_weight, at_bias].concat(), at),
                ] {
                    let error = largest_error(found, &expected);
                    assert!(error < 1e-5, "{name}, width {width}, {rows} rows: {error:e}");
                }
            }
        }
    }
}
