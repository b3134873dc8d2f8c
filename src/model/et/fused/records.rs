//! How numbers lie that are used together. A *record* holds some parts of H channels each, [`LANES`] channels of every
//! part in turn, so that the kernels along pairs walk along few rows. Atom after atom, the i-th group of a part
//! belongs to the i-th [`LANES`] numbers of an (N, H) matrix.
//!
//! What attention weighs is *head-minor* (channel c of head h at c·heads + h), so that a head's channels lie a fixed
//! number of lanes apart; the rest is in the natural order.

use std::slice::ChunksExact;

use pulp::{Simd, WithSimd};

use super::state::{Axes, AxesMut};
use crate::model::engine::{LANES, Lanes, Row, RowMut, dispatch};

/// Parts of what an atom asks: [q | k].
pub(super) const ASKED: usize = 2;

/// Parts of what an atom receives: [S | W], the sums of scalar and (one for each axis) vector messages.
pub(super) const RECEIVED: usize = 4;

/// Parts of what an atom sends: [s | v2 | V v1 (| V v3)].
#[inline(always)]
pub(super) const fn sent(so3: bool) -> usize {
    if so3 { 8 } else { 5 }
}

/// Parts of the filters that are a record, [ds | dv1 | dv2 (| dv3)].
#[inline(always)]
pub(super) const fn filters(so3: bool) -> usize {
    if so3 { 4 } else { 3 }
}

/// Where a part's channel lies in a record of so many parts.
pub(super) fn place(parts: usize, part: usize, channel: usize) -> usize {
    (channel / LANES * parts + part) * LANES + channel % LANES
}

/// One part of many records.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// The records, and what may lie between them.
    pub(super) records: &'a [f32],
    /// From a record to the next.
    pub(super) stride: usize,
    /// H.
    pub(super) hidden: usize,
    /// Parts in a record.
    pub(super) parts: usize,
    /// Which one.
    pub(super) part: usize,
}

impl<'a> Part<'a> {
    /// The groups of the `n`-th record.
    #[inline(always)]
    pub(super) fn groups(self, n: usize) -> ChunksExact<'a, f32> {
        self.records[n * self.stride..][..self.parts * self.hidden].chunks_exact(self.parts * LANES)
    }

    /// The part's `v`-th vector of a group.
    #[inline(always)]
    pub(super) fn at<S: Simd>(self, simd: S, group: &[f32], v: usize) -> Lanes<S> {
        get(simd, group, self.part, v)
    }
}

/// The `v`-th vector of a part of a group.
#[inline(always)]
pub(super) fn get<S: Simd>(simd: S, group: &[f32], part: usize, v: usize) -> Lanes<S> {
    Row::new(simd, &group[part * LANES..], LANES).at(v)
}

/// The `v`-th vector of each part of a group; of what the group does not have, the first again.
#[inline(always)]
pub(super) fn get_all<S: Simd, const PARTS: usize>(simd: S, group: &[f32], v: usize) -> [Lanes<S>; PARTS] {
    let mut vectors = [get(simd, group, 0, v); PARTS];
    for part in 1..PARTS {
        if part * LANES < group.len() {
            vectors[part] = get(simd, group, part, v);
        }
    }
    vectors
}

/// Replaces the `v`-th vector of a part of a group.
#[inline(always)]
pub(super) fn set<S: Simd>(simd: S, group: &mut [f32], part: usize, v: usize, lanes: Lanes<S>) {
    RowMut::new(simd, &mut group[part * LANES..], LANES).set(v, lanes);
}

/// What the atoms' records are made of, (N, H) each.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    /// q, head-minor.
    pub(super) query: &'a [f32],
    /// k, head-minor.
    pub(super) key: &'a [f32],
    /// s, head-minor.
    pub(super) scalar: &'a [f32],
    /// The factor of V.
    pub(super) v1: &'a [f32],
    /// v2.
    pub(super) v2: &'a [f32],
    /// The factor of V in cross products; empty without them.
    pub(super) v3: &'a [f32],
    /// V.
    pub(super) vec: Axes<'a>,
}

impl Values<'_> {
    /// Writes what the atoms ask and send.
    pub(super) fn pack(self, asked: &mut [f32], sent: &mut [f32]) {
        dispatch(Pack { values: self, asked, sent });
    }
}

struct Pack<'a> {
    values: Values<'a>,
    asked: &'a mut [f32],
    sent: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Values { query, key, scalar, v1, v2, v3, vec } = self.values;
        let row = |numbers| Row::new(simd, numbers, query.len());
        let (query, key, scalar, v1, v2) = (row(query), row(key), row(scalar), row(v1), row(v2));
        let v3 = Row::new(simd, v3, v3.len());
        let vec = [row(vec[0]), row(vec[1]), row(vec[2])];
        let (so3, vectors) = (v3.len() > 0, LANES / S::F32_LANES);
        let groups =
            self.asked.chunks_exact_mut(ASKED * LANES).zip(self.sent.chunks_exact_mut(self::sent(so3) * LANES));
        for (i, (asked, sent)) in groups.enumerate() {
            for v in 0..vectors {
                let k = i * vectors + v;
                set(simd, asked, 0, v, query.at(k));
                set(simd, asked, 1, v, key.at(k));
                set(simd, sent, 0, v, scalar.at(k));
                set(simd, sent, 1, v, v2.at(k));
                for axis in 0..3 {
                    set(simd, sent, 2 + axis, v, vec[axis].at(k) * v1.at(k));
                    if so3 {
                        set(simd, sent, 5 + axis, v, vec[axis].at(k) * v3.at(k));
                    }
                }
            }
        }
    }
}

/// Gradients at [`Values`].
pub(super) struct ValuesMut<'a> {
    pub(super) query: &'a mut [f32],
    pub(super) key: &'a mut [f32],
    pub(super) scalar: &'a mut [f32],
    pub(super) v1: &'a mut [f32],
    pub(super) v2: &'a mut [f32],
    pub(super) v3: &'a mut [f32],
    pub(super) vec: AxesMut<'a>,
}

impl ValuesMut<'_> {
    /// The way back through [`Values::pack`], whose results had the gradients `asked` and `sent`: adds to the gradient
    /// at V and writes the others.
    pub(super) fn unpack(self, values: Values<'_>, asked: &[f32], sent: &[f32]) {
        dispatch(Unpack { at: self, values, asked, sent });
    }
}

struct Unpack<'a> {
    at: ValuesMut<'a>,
    values: Values<'a>,
    asked: &'a [f32],
    sent: &'a [f32],
}

impl WithSimd for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Unpack { at, values: Values { v1, v3, vec, .. }, asked, sent } = self;
        let (width, cross) = (v1.len(), v3.len());
        let row = |numbers| Row::new(simd, numbers, width);
        let (v1, v3) = (row(v1), Row::new(simd, v3, cross));
        let vec = [row(vec[0]), row(vec[1]), row(vec[2])];
        let (mut at_query, mut at_key) = (RowMut::new(simd, at.query, width), RowMut::new(simd, at.key, width));
        let (mut at_scalar, mut at_v1) = (RowMut::new(simd, at.scalar, width), RowMut::new(simd, at.v1, width));
        let (mut at_v2, mut at_v3) = (RowMut::new(simd, at.v2, width), RowMut::new(simd, at.v3, cross));
        let [x, y, z] = at.vec;
        let mut at_vec = [RowMut::new(simd, x, width), RowMut::new(simd, y, width), RowMut::new(simd, z, width)];
        let (so3, vectors) = (cross > 0, LANES / S::F32_LANES);
        let groups = asked.chunks_exact(ASKED * LANES).zip(sent.chunks_exact(self::sent(so3) * LANES));
        for (i, (asked, sent)) in groups.enumerate() {
            for v in 0..vectors {
                let k = i * vectors + v;
                at_query.set(k, get(simd, asked, 0, v));
                at_key.set(k, get(simd, asked, 1, v));
                at_scalar.set(k, get(simd, sent, 0, v));
                at_v2.set(k, get(simd, sent, 1, v));
                let zero = Lanes::splat(simd, 0.0);
                let (mut first, mut third) = (zero, zero);
                for axis in 0..3 {
                    let at_scaled = get(simd, sent, 2 + axis, v);
                    first = at_scaled.times_plus(vec[axis].at(k), first);
                    let mut sum = at_scaled.times_plus(v1.at(k), at_vec[axis].at(k));
                    if so3 {
                        let at_turned = get(simd, sent, 5 + axis, v);
                        third = at_turned.times_plus(vec[axis].at(k), third);
                        sum = at_turned.times_plus(v3.at(k), sum);
                    }
                    at_vec[axis].set(k, sum);
                }
                at_v1.set(k, first);
                if so3 {
                    at_v3.set(k, third);
                }
            }
        }
    }
}

/// Writes records [S | W] from the matrices of their parts.
pub(super) fn pack_received(scalars: &[f32], vectors: Axes<'_>, records: &mut [f32]) {
    let [x, y, z] = vectors;
    for (i, record) in records.as_chunks_mut::<{ RECEIVED * LANES }>().0.iter_mut().enumerate() {
        for (part, matrix) in record.as_chunks_mut::<LANES>().0.iter_mut().zip([scalars, x, y, z]) {
            *part = matrix.as_chunks().0[i];
        }
    }
}

/// The inverse of [`pack_received`].
pub(super) fn unpack_received(records: &[f32], scalars: &mut [f32], vectors: AxesMut<'_>) {
    let [x, y, z] = vectors;
    let mut matrices = [scalars, x, y, z].map(|matrix| matrix.as_chunks_mut::<LANES>().0);
    for (i, record) in records.as_chunks::<{ RECEIVED * LANES }>().0.iter().enumerate() {
        for (part, matrix) in record.as_chunks::<LANES>().0.iter().zip(&mut matrices) {
            matrix[i] = *part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{axes, axes_mut};
    use super::*;
    use crate::model::engine::testing::{WIDTHS, numbers};

    /// The (N, H) matrix of a part.
    fn part(records: &[f32], parts: usize, part: usize, h: usize) -> Vec<f32> {
        records.chunks_exact(parts * h).flat_map(|r| (0..h).map(move |c| r[place(parts, part, c)])).collect()
    }

    fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
        a.iter().zip(b).map(|(a, b)| a * b).collect()
    }

    /// Both ways of [`Values::pack`], on this processor's vectors or on scalars.
    fn check(n: usize, h: usize, so3: bool, scalar: bool) {
        let each = n * h;
        let inputs: Vec<Vec<f32>> = (0..6).map(|seed| numbers(each, seed)).collect();
        let vec = numbers(3 * each, 6);
        let v3 = if so3 { &inputs[5][..] } else { &[] };
        let values = Values {
            query: &inputs[0],
            key: &inputs[1],
            scalar: &inputs[2],
            v1: &inputs[3],
            v2: &inputs[4],
            v3,
            vec: axes(&vec),
        };
        let parts = sent(so3);
        let (mut asked, mut sent) = (vec![f32::NAN; ASKED * each], vec![f32::NAN; parts * each]);
        let kernel = Pack { values, asked: &mut asked, sent: &mut sent };
        if scalar {
            kernel.with_simd(pulp::Scalar)
        } else {
            dispatch(kernel)
        }
        let name = format!("{n} atoms, width {h}, so3 {so3}, scalar {scalar}");
        assert!(part(&asked, ASKED, 0, h) == inputs[0] && part(&asked, ASKED, 1, h) == inputs[1], "{name}");
        assert!(part(&sent, parts, 0, h) == inputs[2] && part(&sent, parts, 1, h) == inputs[4], "{name}");
        for (axis, vec) in axes(&vec).into_iter().enumerate() {
            assert_eq!(part(&sent, parts, 2 + axis, h), product(vec, &inputs[3]), "{name}, axis {axis}");
            if so3 {
                assert_eq!(part(&sent, parts, 5 + axis, h), product(vec, v3), "{name}, axis {axis}");
            }
        }

        // Whole numbers, whose sums are exact.
        let whole = |seed: u64, count| -> Vec<f32> { numbers(count, seed).iter().map(|x| (4.0 * x).round()).collect() };
        let (v1, v3, vec) = (whole(11, each), whole(12, v3.len()), whole(13, 3 * each));
        let values = Values { v1: &v1, v3: &v3, vec: axes(&vec), ..values };
        let (asked, sent) = (whole(14, ASKED * each), whole(15, parts * each));
        let mut found: [Vec<f32>; 5] = std::array::from_fn(|_| vec![f32::NAN; each]);
        let (mut at_v3, mut at_vec) = (vec![f32::NAN; v3.len()], whole(16, 3 * each));
        let [query, key, scalars, first, second] = found.each_mut();
        let at = ValuesMut {
            query,
            key,
            scalar: scalars,
            v1: first,
            v2: second,
            v3: &mut at_v3,
            vec: axes_mut(&mut at_vec),
        };
        let kernel = Unpack { at, values, asked: &asked, sent: &sent };
        if scalar {
            kernel.with_simd(pulp::Scalar)
        } else {
            dispatch(kernel)
        }
        assert!(found[0] == part(&asked, ASKED, 0, h) && found[1] == part(&asked, ASKED, 1, h), "{name}");
        assert!(found[2] == part(&sent, parts, 0, h) && found[4] == part(&sent, parts, 1, h), "{name}");
        let (mut at_v1, mut expected_v3) = (vec![0.0; each], vec![0.0; v3.len()]);
        let mut expected_vec = whole(16, 3 * each);
        for axis in 0..3 {
            let (scaled, vec) = (part(&sent, parts, 2 + axis, h), axes(&vec)[axis]);
            let turned = if so3 { part(&sent, parts, 5 + axis, h) } else { Vec::new() };
            for i in 0..each {
                at_v1[i] += scaled[i] * vec[i];
                expected_vec[axis * each + i] += scaled[i] * v1[i];
                if so3 {
                    expected_v3[i] += turned[i] * vec[i];
                    expected_vec[axis * each + i] += turned[i] * v3[i];
                }
            }
        }
        assert!(found[3] == at_v1 && at_v3 == expected_v3 && at_vec == expected_vec, "{name}");
    }

    #[test]
    fn atoms_are_packed_and_unpacked() {
        for h in WIDTHS {
            for n in [0, 1, 3] {
                for (so3, scalar) in [(false, false), (false, true), (true, false), (true, true)] {
                    check(n, h, so3, scalar);
                }
            }
        }
    }

    #[test]
    fn what_is_received_is_packed_and_unpacked() {
        for h in WIDTHS {
            let (scalars, vectors) = (numbers(3 * h, 1), numbers(9 * h, 2));
            let mut records = vec![f32::NAN; RECEIVED * 3 * h];
            pack_received(&scalars, axes(&vectors), &mut records);
            assert_eq!(part(&records, RECEIVED, 0, h), scalars);
            for axis in 0..3 {
                assert_eq!(part(&records, RECEIVED, 1 + axis, h), axes(&vectors)[axis]);
            }
            let (mut found, mut found_vectors) = (vec![0.0; 3 * h], vec![0.0; 9 * h]);
            unpack_received(&records, &mut found, axes_mut(&mut found_vectors));
            assert!(found == scalars && found_vectors == vectors);
        }
    }
}
