//! Softmax over the rows of a matrix of scores, (N, keys).

use pulp::{Simd, WithSimd};

use super::{Lanes, Strip, StripMut, dispatch};

/// p = softmax over the keys of scores + bias, in place. `bias`, (n, n), is added to the first n keys of the first n
/// rows.
pub(crate) fn softmax(scores: &mut [f32], keys: usize, bias: &[f32], biased: usize) {
    struct Kernel<'a> {
        scores: &'a mut [f32],
        keys: usize,
        bias: &'a [f32],
        biased: usize,
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for (index, scores) in self.scores.chunks_exact_mut(self.keys).enumerate() {
                if index < self.biased {
                    let bias = Strip::new(simd, &self.bias[index * self.biased..][..self.biased]);
                    let mut scores = StripMut::new(simd, &mut scores[..self.biased]);
                    for k in 0..bias.len() {
                        scores.add(k, bias.at(k));
                    }
                }
                row(simd, scores);
            }
        }
    }
    #[inline(always)]
    fn row<S: Simd>(simd: S, scores: &mut [f32]) {
        let whole = scores.len() / S::F32_LANES;
        let mut most = scores[whole * S::F32_LANES..].iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score));
        let mut scores = StripMut::new(simd, scores);
        if whole > 0 {
            let largest = (1..whole).fold(scores.at(0), |most, k| most.max(scores.at(k)));
            most = most.max(largest.largest());
        }
        let (most, zero) = (Lanes::splat(simd, most), Lanes::splat(simd, 0.0));
        // 0, or NaN if any score is not finite: `max` and `exp` would hide it.
        let (mut total, mut flaw) = (zero, zero);
        for k in 0..scores.len() {
            let score = scores.at(k);
            flaw = score.times_plus(zero, flaw);
            total = total + scores.put(k, (score - most).exp());
        }
        let factor = Lanes::splat(simd, 1.0 / total.sum() + flaw.sum());
        for k in 0..scores.len() {
            scores.set(k, scores.at(k) * factor);
        }
    }
    if keys > 0 {
        dispatch(Kernel { scores, keys, bias, biased });
    }
}

/// The way back through [`softmax`]: from the gradient at p, in `d`, to that at the scores, in place. The part of it
/// that is the bias's goes to `at_bias`, (n, n).
pub(crate) fn softmax_back(d: &mut [f32], p: &[f32], keys: usize, at_bias: &mut [f32], biased: usize) {
    struct Kernel<'a> {
        d: &'a mut [f32],
        p: &'a [f32],
        keys: usize,
        at_bias: &'a mut [f32],
        biased: usize,
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let rows = self.d.chunks_exact_mut(self.keys).zip(self.p.chunks_exact(self.keys));
            for (index, (d, p)) in rows.enumerate() {
                {
                    let (mut d, p) = (StripMut::new(simd, d), Strip::new(simd, p));
                    let mut sum = Lanes::splat(simd, 0.0);
                    for k in 0..p.len() {
                        sum = p.at(k).times_plus(d.at(k), sum);
                    }
                    let mean = Lanes::splat(simd, sum.sum());
                    for k in 0..p.len() {
                        d.set(k, p.at(k) * (d.at(k) - mean));
                    }
                }
                if index < self.biased {
                    self.at_bias[index * self.biased..][..self.biased].copy_from_slice(&d[..self.biased]);
                }
            }
        }
    }
    if keys > 0 {
        dispatch(Kernel { d, p, keys, at_bias, biased });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{largest_error, numbers, wide};

    fn exact(scores: &[f64], keys: usize, bias: &[f64], biased: usize) -> Vec<f64> {
        let mut p = Vec::new();
        for (i, scores) in scores.chunks_exact(keys).enumerate() {
            let bias = |j: usize| if i < biased && j < biased { bias[i * biased + j] } else { 0.0 };
            let powers: Vec<f64> = scores.iter().enumerate().map(|(j, s)| (s + bias(j)).exp()).collect();
            let total: f64 = powers.iter().sum();
            p.extend(powers.iter().map(|power| power / total));
        }
        p
    }

    #[test]
    fn softmax_and_its_gradient_equal_the_definition() {
        for (keys, biased) in [(1, 0), (1, 1), (3, 2), (16, 16), (19, 9), (47, 37), (138, 128)] {
            let (scores, bias) = (numbers(keys * keys, 1), numbers(biased * biased, 2));
            let g = numbers(keys * keys, 3);
            let mut p = scores.clone();
            softmax(&mut p, keys, &bias, biased);
            let (mut d, mut at_bias) = (g.clone(), vec![f32::NAN; biased * biased]);
            softmax_back(&mut d, &p, keys, &mut at_bias, biased);

            let [scores, bias, g] = [&scores, &bias, &g].map(|v| wide(v));
            let exact_p = exact(&scores, keys, &bias, biased);
            let exact_d: Vec<f64> = (0..keys * keys)
                .map(|at| {
                    let row = at / keys * keys..(at / keys + 1) * keys;
                    let mean: f64 = row.map(|k| exact_p[k] * g[k]).sum();
                    exact_p[at] * (g[at] - mean)
                })
                .collect();
            let exact_bias: Vec<f64> =
                (0..biased * biased).map(|at| exact_d[at / biased * keys + at % biased]).collect();
            for (name, found, expected) in [("p", &p, exact_p), ("∂s", &d, exact_d), ("∂b", &at_bias, exact_bias)] {
                let error = largest_error(found, &expected);
                // A single key leaves nothing to choose: the gradient is rounding.
                assert!(error < 2e-6 || keys == 1 && found == &[0.0], "{name}, {keys} keys: {error:e}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_shows() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 15, 16, 18] {
                let mut p = vec![0.5; 19];
                p[place] = bad;
                softmax(&mut p, 19, &[], 0);
                assert!(p.iter().all(|p| p.is_nan()), "{bad} at {place}");
            }
        }
    }

    #[test]
    fn scores_far_apart_do_not_overflow() {
        let mut p = [[1e4f32; 17], [-1e4; 17]].concat();
        p[3] = 3e4;
        p[17 + 5] = -3e4;
        softmax(&mut p, 17, &[], 0);
        assert_eq!((p[3], p[0] < 1e-30), (1.0, true));
        assert!((p[17] - 1.0 / 16.0).abs() < 1e-7 && p[17 + 5] < 1e-30);
    }
}
