//! What the first mixing layer adds to its product with x. The atom features' part is the same for all atoms with the
//! same features, of which a molecule has few: it is a table with a row for each kind of atom, and on the way back the
//! atoms of a kind are summed before they meet a weight.

use pulp::{Simd, WithSimd};

use crate::model::engine::{Lanes, Row, RowMut, dispatch};

/// y ← y + f_k + t w for each atom, of kind k at the time t, and s = silu(y).
pub(super) struct Mix<'a> {
    /// The kind of each atom.
    pub(super) kinds: &'a [usize],
    /// f, (kinds, H).
    pub(super) table: &'a [f32],
    /// t of each atom.
    pub(super) times: &'a [f32],
    /// w, H numbers.
    pub(super) time_weight: &'a [f32],
    /// y, (N, H).
    pub(super) y: &'a mut [f32],
    /// silu(y), (N, H).
    pub(super) s: &'a mut [f32],
}

impl Mix<'_> {
    pub(super) fn run(self) {
        dispatch(self);
    }
}

impl WithSimd for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let h = self.time_weight.len();
        let weight = Row::new(simd, self.time_weight, h);
        let rows = self.y.chunks_exact_mut(h).zip(self.s.chunks_exact_mut(h));
        for ((y, s), (&kind, &t)) in rows.zip(self.kinds.iter().zip(self.times)) {
            let (mut y, mut s) = (RowMut::new(simd, y, h), RowMut::new(simd, s, h));
            let (feature, t) = (Row::new(simd, &self.table[kind * h..], h), Lanes::splat(simd, t));
            for k in 0..weight.len() {
                let value = y.at(k) + t.times_plus(weight.at(k), feature.at(k));
                y.set(k, value);
                s.set(k, value * value.sigmoid());
            }
        }
    }
}

/// The way back through [`Mix`].
pub(super) struct MixBack<'a> {
    /// The kind of each atom.
    pub(super) kinds: &'a [usize],
    /// t of each atom.
    pub(super) times: &'a [f32],
    /// y as [`Mix`] left it.
    pub(super) y: &'a [f32],
    /// Receives silu(y) once more.
    pub(super) s: &'a mut [f32],
    /// The gradient at s, which becomes that at y, (N, H).
    pub(super) d: &'a mut [f32],
    /// *Gains* the gradient at f.
    pub(super) at_table: &'a mut [f32],
    /// *Gains* the gradient at w.
    pub(super) at_time_weight: &'a mut [f32],
}

impl MixBack<'_> {
    pub(super) fn run(self) {
        dispatch(self);
    }
}

impl WithSimd for MixBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let h = self.at_time_weight.len();
        let one = Lanes::splat(simd, 1.0);
        let mut at_weight = RowMut::new(simd, self.at_time_weight, h);
        let rows = self.d.chunks_exact_mut(h).zip(self.y.chunks_exact(h)).zip(self.s.chunks_exact_mut(h));
        for (((d, y), s), (&kind, &t)) in rows.zip(self.kinds.iter().zip(self.times)) {
            let (mut d, y, mut s) = (RowMut::new(simd, d, h), Row::new(simd, y, h), RowMut::new(simd, s, h));
            let t = Lanes::splat(simd, t);
            let mut at_feature = RowMut::new(simd, &mut self.at_table[kind * h..], h);
            for k in 0..y.len() {
                let (value, sigma) = (y.at(k), y.at(k).sigmoid());
                s.set(k, value * sigma);
                let g = d.at(k) * sigma * value.times_plus(one - sigma, one);
                d.set(k, g);
                at_feature.add(k, g);
                at_weight.set(k, g.times_plus(t, at_weight.at(k)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{WIDTHS, largest_error, numbers, wide};

    fn silu(y: f64) -> f64 {
        y / (1.0 + (-y).exp())
    }

    /// On this processor's vectors or on scalars: y and s, then s once more, d, ∂f and ∂w.
    fn run(kinds: &[usize], h: usize, scalar: bool) -> [Vec<f32>; 6] {
        let n = kinds.len();
        let (mut y, mut s) = (numbers(n * h, 1), vec![f32::NAN; n * h]);
        let (table, times, weight) = (numbers(3 * h, 2), numbers(n, 3), numbers(h, 4));
        let forward = Mix { kinds, table: &table, times: &times, time_weight: &weight, y: &mut y, s: &mut s };
        if scalar {
            forward.with_simd(pulp::Scalar)
        } else {
            forward.run()
        }
        let (mut d, mut at_f, mut at_w, mut again) =
            (numbers(n * h, 5), numbers(3 * h, 6), numbers(h, 7), vec![f32::NAN; n * h]);
        let (at_table, at_time_weight) = (&mut at_f[..], &mut at_w[..]);
        let back = MixBack { kinds, times: &times, y: &y, s: &mut again, d: &mut d, at_table, at_time_weight };
        if scalar {
            back.with_simd(pulp::Scalar)
        } else {
            back.run()
        }
        [y, s, again, d, at_f, at_w]
    }

    #[test]
    fn mixing_equals_its_definition() {
        for h in WIDTHS {
            for (kinds, scalar) in [(&[2, 0, 2, 2, 0][..], false), (&[2, 0, 2, 2, 0], true), (&[], false)] {
                let found = run(kinds, h, scalar);
                let [x, g] = [1, 5].map(|seed| wide(&numbers(kinds.len() * h, seed)));
                let [table, before_table] = [2, 6].map(|seed| wide(&numbers(3 * h, seed)));
                let [weight, before_weight] = [4, 7].map(|seed| wide(&numbers(h, seed)));
                let times = wide(&numbers(kinds.len(), 3));
                let y: Vec<f64> = (0..kinds.len() * h)
                    .map(|at| x[at] + table[kinds[at / h] * h + at % h] + times[at / h] * weight[at % h])
                    .collect();
                let s: Vec<f64> = y.iter().map(|&y| silu(y)).collect();
                let slope = |y: f64| (silu(y + 1e-5) - silu(y - 1e-5)) / 2e-5;
                let d: Vec<f64> = y.iter().zip(&g).map(|(&y, g)| g * slope(y)).collect();
                let (mut at_table, mut at_weight) = (before_table, before_weight);
                for (at, d) in d.iter().enumerate() {
                    at_table[kinds[at / h] * h + at % h] += d;
                    at_weight[at % h] += times[at / h] * d;
                }
                for (name, found, expected) in [
                    ("y", &found[0], y),
                    ("silu(y)", &found[1], s.clone()),
                    ("silu(y) again", &found[2], s),
                    ("∂y", &found[3], d),
                    ("∂f", &found[4], at_table),
                    ("∂w", &found[5], at_weight),
                ] {
                    let error = largest_error(found, &expected);
                    assert!(error < 1e-6, "{name}, width {h}, {} atoms, scalar {scalar}: {error:e}", kinds.len());
                }
            }
        }
    }
}
