//! The arithmetic of a layer that stays on an atom: how the sums of messages change its features, and the
//! rearrangement of channels.

use pulp::{Simd, WithSimd};

use crate::model::engine::{Lanes, Row, RowMut, dispatch};

/// A quantity with three components, one (N, H) matrix per axis.
pub(super) type Axes<'a> = [&'a [f32]; 3];

/// Likewise, to be written to.
pub(super) type AxesMut<'a> = [&'a mut [f32]; 3];

/// x′ = x + ⟨w1, w2⟩ o2 + o3 and V′ += V + w3 o1, row by row; `output` holds [o1 | o2 | o3] without bias and
/// receives it, V′ holds the sums of the vector messages.
pub(super) struct Update<'a> {
    /// H.
    pub(super) hidden: usize,
    /// [o1 | o2 | o3], (N, 3H).
    pub(super) output: &'a mut [f32],
    /// The bias of o, 3H.
    pub(super) bias: &'a [f32],
    /// [w1 | w2 | w3] of each axis, (N, 3H).
    pub(super) projected: Axes<'a>,
    /// x, (N, H).
    pub(super) x: &'a [f32],
    /// V, (N, H) per axis.
    pub(super) vec: Axes<'a>,
    /// x′.
    pub(super) next_x: &'a mut [f32],
    /// V′.
    pub(super) next_vec: AxesMut<'a>,
}

impl Update<'_> {
    pub(super) fn run(self) {
        dispatch(self);
    }
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let h = self.hidden;
        let bias: [Row<'_, S>; 3] = [0, 1, 2].map(|p| Row::new(simd, &self.bias[p * h..], h));
        for n in 0..self.x.len() / h {
            let [o1, o2, o3] = thirds(&mut self.output[n * 3 * h..], h).map(|o| RowMut::new(simd, o, h));
            let mut o = [o1, o2, o3];
            let w = self.projected.map(|w| parts(simd, &w[n * 3 * h..], h));
            let (x, mut next_x) =
                (Row::new(simd, &self.x[n * h..], h), RowMut::new(simd, &mut self.next_x[n * h..], h));
            let vec = self.vec.map(|vec| Row::new(simd, &vec[n * h..], h));
            let [a, b, c] = &mut self.next_vec;
            let mut next_vec = [a, b, c].map(|vec| RowMut::new(simd, &mut vec[n * h..], h));
            for k in 0..x.len() {
                for p in 0..3 {
                    o[p].set(k, o[p].at(k) + bias[p].at(k));
                }
                let mut inner = Lanes::splat(simd, 0.0);
                for axis in 0..3 {
                    inner = w[axis][0].at(k).times_plus(w[axis][1].at(k), inner);
                    let moved = w[axis][2].at(k).times_plus(o[0].at(k), vec[axis].at(k));
                    next_vec[axis].add(k, moved);
                }
                next_x.set(k, inner.times_plus(o[1].at(k), x.at(k) + o[2].at(k)));
            }
        }
    }
}

/// The way back through [`Update`], given the gradients at x′ and V′: those at o and at w. (Those at x, V and the
/// sums of messages are the ones at x′ and V′ themselves.)
pub(super) struct UpdateBack<'a> {
    /// H.
    pub(super) hidden: usize,
    /// [o1 | o2 | o3] with bias.
    pub(super) output: &'a [f32],
    /// w per axis.
    pub(super) projected: Axes<'a>,
    /// The gradient at x′.
    pub(super) at_x: &'a [f32],
    /// The gradient at V′.
    pub(super) at_vec: Axes<'a>,
    /// The gradient at o.
    pub(super) at_output: &'a mut [f32],
    /// The gradient at w.
    pub(super) at_projected: AxesMut<'a>,
}

impl UpdateBack<'_> {
    pub(super) fn run(self) {
        dispatch(self);
    }
}

impl WithSimd for UpdateBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let h = self.hidden;
        for n in 0..self.at_x.len() / h {
            let o = parts(simd, &self.output[n * 3 * h..], h);
            let w = self.projected.map(|w| parts(simd, &w[n * 3 * h..], h));
            let at_x = Row::new(simd, &self.at_x[n * h..], h);
            let at_vec = self.at_vec.map(|vec| Row::new(simd, &vec[n * h..], h));
            let [a1, a2, a3] = thirds(&mut self.at_output[n * 3 * h..], h).map(|o| RowMut::new(simd, o, h));
            let mut at_o = [a1, a2, a3];
            let [x, y, z] = &mut self.at_projected;
            let mut at_w = [x, y, z].map(|w| thirds(&mut w[n * 3 * h..], h).map(|part| RowMut::new(simd, part, h)));
            for k in 0..at_x.len() {
                let (mut inner, mut at_o1) = (Lanes::splat(simd, 0.0), Lanes::splat(simd, 0.0));
                let at_inner = at_x.at(k) * o[1].at(k);
                for axis in 0..3 {
                    let (w1, w2, g) = (w[axis][0].at(k), w[axis][1].at(k), at_vec[axis].at(k));
                    inner = w1.times_plus(w2, inner);
                    at_o1 = g.times_plus(w[axis][2].at(k), at_o1);
                    at_w[axis][0].set(k, at_inner * w2);
                    at_w[axis][1].set(k, at_inner * w1);
                    at_w[axis][2].set(k, g * o[0].at(k));
                }
                at_o[0].set(k, at_o1);
                at_o[1].set(k, at_x.at(k) * inner);
                at_o[2].set(k, at_x.at(k));
            }
        }
    }
}

#[inline(always)]
fn parts<'a, S: Simd>(simd: S, row: &'a [f32], h: usize) -> [Row<'a, S>; 3] {
    [Row::new(simd, row, h), Row::new(simd, &row[h..], h), Row::new(simd, &row[2 * h..], h)]
}

#[inline(always)]
fn thirds(row: &mut [f32], h: usize) -> [&mut [f32]; 3] {
    let (a, rest) = row.split_at_mut(h);
    let (b, rest) = rest.split_at_mut(h);
    [a, b, &mut rest[..h]]
}

/// One slice per axis of a (3, N, ·) array.
pub(super) fn axes(array: &[f32]) -> Axes<'_> {
    let each = array.len() / 3;
    [&array[..each], &array[each..2 * each], &array[2 * each..]]
}

/// Likewise, to be written to.
pub(super) fn axes_mut(array: &mut [f32]) -> AxesMut<'_> {
    thirds(array, array.len() / 3)
}

/// How channels are grouped into heads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// H.
    pub(super) hidden: usize,
    /// h.
    pub(super) heads: usize,
}

impl Heads {
    /// Rows (N, H) from natural to head-minor order.
    pub(super) fn to_minor(self, natural: &[f32], minor: &mut [f32]) {
        let d = self.hidden / self.heads;
        for (natural, minor) in natural.chunks_exact(self.hidden).zip(minor.chunks_exact_mut(self.hidden)) {
            for (head, channels) in natural.chunks_exact(d).enumerate() {
                for (c, &number) in channels.iter().enumerate() {
                    minor[c * self.heads + head] = number;
                }
            }
        }
    }

    /// Rows (N, H) from head-minor to natural order.
    pub(super) fn to_natural(self, minor: &[f32], natural: &mut [f32]) {
        let d = self.hidden / self.heads;
        for (natural, minor) in natural.chunks_exact_mut(self.hidden).zip(minor.chunks_exact(self.hidden)) {
            for (head, channels) in natural.chunks_exact_mut(d).enumerate() {
                for (c, number) in channels.iter_mut().enumerate() {
                    *number = minor[c * self.heads + head];
                }
            }
        }
    }

    /// Takes the rows of v (N, parts·H), interleaved within each head, apart: the first part head-minor, the others
    /// in natural order. Adds the bias.
    pub(super) fn split(self, value: &[f32], bias: &[f32], parts: &mut [&mut [f32]]) {
        let (d, width) = (self.hidden / self.heads, parts.len() * self.hidden);
        for (n, row) in value.chunks_exact(width).enumerate() {
            for head in 0..self.heads {
                for (p, part) in parts.iter_mut().enumerate() {
                    let start = (head * width / self.heads) + p * d;
                    let (numbers, bias) = (&row[start..start + d], &bias[start..start + d]);
                    let out = &mut part[n * self.hidden..][..self.hidden];
                    if p == 0 {
                        for c in 0..d {
                            out[c * self.heads + head] = numbers[c] + bias[c];
                        }
                    } else {
                        let out = &mut out[head * d..][..d];
                        for c in 0..d {
                            out[c] = numbers[c] + bias[c];
                        }
                    }
                }
            }
        }
    }

    /// The inverse of [`Heads::split`] without a bias.
    pub(super) fn join(self, parts: &[&[f32]], value: &mut [f32]) {
        let (d, width) = (self.hidden / self.heads, parts.len() * self.hidden);
        for (n, row) in value.chunks_exact_mut(width).enumerate() {
            for head in 0..self.heads {
                for (p, part) in parts.iter().enumerate() {
                    let start = (head * width / self.heads) + p * d;
                    let numbers = &part[n * self.hidden..][..self.hidden];
                    let out = &mut row[start..start + d];
                    if p == 0 {
                        for c in 0..d {
                            out[c] = numbers[c * self.heads + head];
                        }
                    } else {
                        out.copy_from_slice(&numbers[head * d..][..d]);
                    }
                }
            }
        }
    }
}
