//! Vector arithmetic on rows of numbers. A kernel is written once over [`Lanes`] and compiled for each
//! instruction set; [`dispatch`] picks the widest that the processor has, when the program runs.

mod strip;

use std::ops::{Add, Mul, Sub};

use pulp::{Simd, WithSimd};

pub(crate) use strip::{Strip, StripMut};

/// Rows are multiples of this many numbers, which every instruction set's vectors divide.
pub(crate) const LANES: usize = 16;

/// Runs a kernel with the widest vectors of this processor.
pub(crate) fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    pulp::Arch::new().dispatch(kernel)
}

/// One vector register's numbers.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<S: Simd> {
    simd: S,
    numbers: S::f32s,
}

impl<S: Simd> Add for Lanes<S> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(self.simd.add_f32s(self.numbers, other.numbers))
    }
}

impl<S: Simd> Sub for Lanes<S> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(self.simd.sub_f32s(self.numbers, other.numbers))
    }
}

impl<S: Simd> Mul for Lanes<S> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(self.simd.mul_f32s(self.numbers, other.numbers))
    }
}

impl<S: Simd> Lanes<S> {
    /// The same number in all lanes.
    #[inline(always)]
    pub(crate) fn splat(simd: S, number: f32) -> Self {
        Lanes { simd, numbers: simd.splat_f32s(number) }
    }

    #[inline(always)]
    fn with(self, numbers: S::f32s) -> Self {
        Lanes { simd: self.simd, numbers }
    }

    /// self · factor + term, rounded once where the processor can.
    #[inline(always)]
    pub(crate) fn times_plus(self, factor: Self, term: Self) -> Self {
        self.with(self.simd.mul_add_e_f32s(self.numbers, factor.numbers, term.numbers))
    }

    /// The sum over the lanes.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        self.simd.reduce_sum_f32s(self.numbers)
    }

    /// The larger number of each lane.
    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        self.with(self.simd.max_f32s(self.numbers, other.numbers))
    }

    /// The largest number of all lanes.
    #[inline(always)]
    pub(crate) fn largest(self) -> f32 {
        self.simd.reduce_max_f32s(self.numbers)
    }

    /// σ(x) = 1/(1 + e⁻ˣ), to a relative error of about 2e-7 + 1.5e-8 |x| (8e-8 |x| without fused arithmetic).
    #[inline(always)]
    pub(crate) fn sigmoid(self) -> Self {
        let one = Self::splat(self.simd, 1.0);
        one.over(one + self.exp_of(-1.0))
    }

    /// Their quotients.
    #[inline(always)]
    fn over(self, divisor: Self) -> Self {
        self.with(self.simd.div_f32s(self.numbers, divisor.numbers))
    }

    /// silu(x) = x σ(x).
    #[inline(always)]
    pub(crate) fn silu(self) -> Self {
        self.over(Self::splat(self.simd, 1.0) + self.exp_of(-1.0))
    }

    /// silu(x) and silu′(x) = σ + silu (1 − σ).
    #[inline(always)]
    pub(crate) fn silu_with_slope(self) -> (Self, Self) {
        let sigma = self.sigmoid();
        let active = self * sigma;
        (active, sigma.times_plus(self - active, sigma))
    }

    /// [`Lanes::sigmoid`], but NaN where x is not finite, which the limits of the exponential hide.
    #[inline(always)]
    pub(crate) fn opening(self) -> Self {
        self.times_plus(Self::splat(self.simd, 0.0), self.sigmoid())
    }

    /// eˣ for x cut to ±87, as precise as [`Lanes::sigmoid`]: 2ⁿ 2ᶠ with x log₂e = n + f, |f| ≤ 1/2, and for 2ᶠ the
    /// polynomial of degree 5 with the smallest relative error, 7.5e-8.
    #[inline(always)]
    pub(crate) fn exp(self) -> Self {
        self.exp_of(1.0)
    }

    /// [`Lanes::exp`] of x or −x, as the sign says.
    #[inline(always)]
    fn exp_of(self, sign: f32) -> Self {
        // Adding 1.5·2²³ rounds to a whole number, which then stands in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        const POWER_OF_TWO: [f32; 5] = [0.009_675_542, 0.055_507_13, 0.240_221_2, 0.693_146_94, 1.000_000_1];
        let simd = self.simd;
        let splat = |number| Self::splat(simd, number);
        let x = self.with(simd.min_f32s(simd.max_f32s(self.numbers, splat(-87.0).numbers), splat(87.0).numbers));
        let factor = splat(sign * std::f32::consts::LOG2_E);
        let shifted = x.times_plus(factor, splat(ROUND));
        let f = x.times_plus(factor, splat(ROUND) - shifted);
        let mut p = splat(0.001_327_647_1);
        for coefficient in POWER_OF_TWO {
            p = p.times_plus(f, splat(coefficient));
        }
        let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted.numbers), simd.splat_u32s(23));
        let bits = simd.add_u32s(simd.transmute_u32s_f32s(p.numbers), exponent);
        self.with(simd.transmute_f32s_u32s(bits))
    }
}

/// A row of numbers, read a vector at a time.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a, S: Simd> {
    simd: S,
    vectors: &'a [S::f32s],
}

impl<'a, S: Simd> Row<'a, S> {
    /// The first `width` of these numbers; `width` is a multiple of [`LANES`].
    #[inline(always)]
    pub(crate) fn new(simd: S, numbers: &'a [f32], width: usize) -> Self {
        Row { simd, vectors: &S::as_simd_f32s(numbers).0[..width / S::F32_LANES] }
    }

    /// The `k`-th vector.
    #[inline(always)]
    pub(crate) fn at(&self, k: usize) -> Lanes<S> {
        Lanes { simd: self.simd, numbers: self.vectors[k] }
    }

    /// Number of vectors.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.vectors.len()
    }
}

/// A row of numbers, written a vector at a time.
pub(crate) struct RowMut<'a, S: Simd> {
    simd: S,
    vectors: &'a mut [S::f32s],
}

impl<'a, S: Simd> RowMut<'a, S> {
    /// The first `width` of these numbers; `width` is a multiple of [`LANES`].
    #[inline(always)]
    pub(crate) fn new(simd: S, numbers: &'a mut [f32], width: usize) -> Self {
        RowMut { simd, vectors: &mut S::as_mut_simd_f32s(numbers).0[..width / S::F32_LANES] }
    }

    /// The `k`-th vector.
    #[inline(always)]
    pub(crate) fn at(&self, k: usize) -> Lanes<S> {
        Lanes { simd: self.simd, numbers: self.vectors[k] }
    }

    /// Number of vectors.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Replaces the `k`-th vector.
    #[inline(always)]
    pub(crate) fn set(&mut self, k: usize, lanes: Lanes<S>) {
        self.vectors[k] = lanes.numbers;
    }

    /// Adds to the `k`-th vector.
    #[inline(always)]
    pub(crate) fn add(&mut self, k: usize, lanes: Lanes<S>) {
        self.vectors[k] = self.simd.add_f32s(self.vectors[k], lanes.numbers);
    }
}

/// Sums over the lanes l of each residue class of l modulo `classes` (a divisor of [`LANES`]), into all of its lanes.
#[inline(always)]
pub(crate) fn fold_lanes<S: Simd>(simd: S, classes: usize, sums: &mut [f32; LANES]) {
    let mut sums = RowMut::new(simd, sums, LANES);
    let mut width = LANES;
    while width > classes {
        width /= 2;
        if width >= S::F32_LANES {
            let half = width / S::F32_LANES;
            for k in 0..half {
                let sum = sums.at(k) + sums.at(k + half);
                sums.set(k, sum);
                sums.set(k + half, sum);
            }
        } else {
            let sum = sums.at(0);
            let sum = sum + sum.with(simd.rotate_left_f32s(sum.numbers, width));
            sums.set(0, sum);
        }
    }
    // What follows the first vectors repeats them.
    let first = (width.max(S::F32_LANES)) / S::F32_LANES;
    for k in first..sums.len() {
        sums.set(k, sums.at(k % first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apply<'a>(&'a mut [f32], bool);

    impl WithSimd for Apply<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.0.len();
            let mut row = RowMut::new(simd, self.0, width);
            for k in 0..width / S::F32_LANES {
                let x = row.at(k);
                row.set(k, if self.1 { x.exp() } else { x.sigmoid() });
            }
        }
    }

    /// On this processor's vectors and on scalars, over a fine grid.
    fn check(exponential: bool, exact: fn(f64) -> f64) {
        let points: Vec<f32> = (0..160_000).map(|i| -80.0 + 0.001 * i as f32).collect();
        for scalar in [false, true] {
            let mut values = points.clone();
            let kernel = Apply(&mut values, exponential);
            if scalar {
                kernel.with_simd(pulp::Scalar)
            } else {
                dispatch(kernel)
            }
            for (&x, &y) in points.iter().zip(&values) {
                let expected = exact(f64::from(x));
                let error = (f64::from(y) - expected).abs() / expected;
                assert!(error < 2.5e-7 + 8e-8 * f64::from(x.abs()), "at {x}: {error:e}");
            }
        }
    }

    #[test]
    fn exponential_and_sigmoid_are_exact_to_rounding() {
        check(true, f64::exp);
        check(false, |x| 1.0 / (1.0 + (-x).exp()));
    }

    #[test]
    fn beyond_the_range_it_saturates() {
        let mut values = [f32::NEG_INFINITY, -1e30, 1e30, f32::INFINITY].repeat(4);
        dispatch(Apply(&mut values, false));
        for row in values.as_chunks::<4>().0 {
            assert!(row[0] >= 0.0 && row[0] < 1e-37 && row[1] == row[0] && row[2] == 1.0 && row[3] == 1.0, "{row:?}");
        }
    }

    struct Open<'a>(&'a mut [f32]);

    impl WithSimd for Open<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let mut row = StripMut::new(simd, self.0);
            (0..row.len()).for_each(|k| row.set(k, row.at(k).opening()));
        }
    }

    #[test]
    fn an_opening_shows_what_is_not_finite() {
        let mut values = [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -90.0, 90.0].repeat(3);
        dispatch(Open(&mut values));
        for row in values.chunks_exact(6) {
            assert!(
                row[0] == 0.5 && row[1..4].iter().all(|x| x.is_nan()) && row[4] < 1e-37 && row[5] == 1.0,
                "{row:?}"
            );
        }
    }

    struct Sums<'a>(&'a [f32; LANES], usize);

    impl WithSimd for Sums<'_> {
        type Output = [f32; LANES];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [f32; LANES] {
            let mut sums = *self.0;
            fold_lanes(simd, self.1, &mut sums);
            sums
        }
    }

    #[test]
    fn residue_classes_are_summed() {
        let row: [f32; LANES] = std::array::from_fn(|c| (c * c) as f32);
        for classes in [1, 2, 4, 8, 16] {
            let mut found = vec![dispatch(Sums(&row, classes)), Sums(&row, classes).with_simd(pulp::Scalar)];
            #[cfg(target_arch = "x86_64")]
            found.extend(pulp::x86::V3::try_new().map(|simd| Simd::vectorize(simd, Sums(&row, classes))));
            for lane in 0..LANES {
                let expected: f32 = (0..LANES).filter(|c| c % classes == lane % classes).map(|c| row[c]).sum();
                assert!(found.iter().all(|sums| sums[lane] == expected), "{classes} classes, lane {lane}: {found:?}");
            }
        }
    }
}
