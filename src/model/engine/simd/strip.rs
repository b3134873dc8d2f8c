//! Rows of any length.

use pulp::Simd;

use super::Lanes;

/// A row of numbers of any length, read a vector at a time. The lanes beyond its end are zero.
#[derive(Clone, Copy)]
pub(crate) struct Strip<'a, S: Simd> {
    simd: S,
    vectors: &'a [S::f32s],
    tail: &'a [f32],
}

impl<'a, S: Simd> Strip<'a, S> {
    /// All of these numbers.
    #[inline(always)]
    pub(crate) fn new(simd: S, numbers: &'a [f32]) -> Self {
        let (vectors, tail) = S::as_simd_f32s(numbers);
        Strip { simd, vectors, tail }
    }

    /// Number of vectors, the last of which may be a part.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.vectors.len() + usize::from(!self.tail.is_empty())
    }

    /// The `k`-th vector.
    #[inline(always)]
    pub(crate) fn at(&self, k: usize) -> Lanes<S> {
        let numbers = match self.vectors.get(k) {
            Some(numbers) => *numbers,
            None => self.simd.partial_load_f32s(self.tail),
        };
        Lanes { simd: self.simd, numbers }
    }
}

/// A row of numbers of any length, written a vector at a time.
pub(crate) struct StripMut<'a, S: Simd> {
    simd: S,
    vectors: &'a mut [S::f32s],
    tail: &'a mut [f32],
}

impl<'a, S: Simd> StripMut<'a, S> {
    /// All of these numbers.
    #[inline(always)]
    pub(crate) fn new(simd: S, numbers: &'a mut [f32]) -> Self {
        let (vectors, tail) = S::as_mut_simd_f32s(numbers);
        StripMut { simd, vectors, tail }
    }

    /// Number of vectors, the last of which may be a part.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.vectors.len() + usize::from(!self.tail.is_empty())
    }

    /// The `k`-th vector; lanes beyond the row's end are zero.
    #[inline(always)]
    pub(crate) fn at(&self, k: usize) -> Lanes<S> {
        let numbers = match self.vectors.get(k) {
            Some(numbers) => *numbers,
            None => self.simd.partial_load_f32s(self.tail),
        };
        Lanes { simd: self.simd, numbers }
    }

    /// Replaces the `k`-th vector; lanes beyond the row's end are dropped.
    #[inline(always)]
    pub(crate) fn set(&mut self, k: usize, lanes: Lanes<S>) {
        match self.vectors.get_mut(k) {
            Some(numbers) => *numbers = lanes.numbers,
            None => self.simd.partial_store_f32s(self.tail, lanes.numbers),
        }
    }

    /// Adds to the `k`-th vector.
    #[inline(always)]
    pub(crate) fn add(&mut self, k: usize, lanes: Lanes<S>) {
        self.set(k, self.at(k) + lanes);
    }

    /// Replaces the `k`-th vector and returns what is there now: lanes beyond the row's end are zero.
    #[inline(always)]
    pub(crate) fn put(&mut self, k: usize, lanes: Lanes<S>) -> Lanes<S> {
        self.set(k, lanes);
        if k < self.vectors.len() { lanes } else { self.at(k) }
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::super::dispatch;
    use super::*;

    struct Copy<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for Copy<'_> {
        /// How many vectors, and the sum of all lanes of them.
        type Output = (usize, f32);

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> (usize, f32) {
            let one = Lanes::splat(simd, 1.0);
            let (from, mut to) = (Strip::new(simd, self.0), StripMut::new(simd, self.1));
            let mut total = Lanes::splat(simd, 0.0);
            for k in 0..from.len() {
                to.set(k, from.at(k));
                to.add(k, from.at(k));
                total = total + from.at(k) + to.at(k);
                total = total + to.put(k, to.at(k) + one);
            }
            (to.len(), total.sum())
        }
    }

    #[test]
    fn lanes_beyond_the_end_are_zero_and_untouched() {
        for width in 0..70 {
            let from: Vec<f32> = (1..=width).map(|i| i as f32).collect();
            for scalar in [false, true] {
                let mut to = vec![-7.0; width + 20];
                let kernel = Copy(&from, &mut to[..width]);
                let (vectors, total) = if scalar { kernel.with_simd(pulp::Scalar) } else { dispatch(kernel) };
                // x + 2 x + (2 x + 1) for x from 1 to the width.
                assert_eq!(total, (5 * width * (width + 1) / 2 + width) as f32, "width {width}");
                assert!(vectors * 16 >= width && vectors <= width.max(1));
                let expected = from.iter().map(|x| 2.0 * x + 1.0).chain([-7.0; 20]);
                assert!(to.iter().copied().eq(expected), "width {width}");
            }
        }
    }
}
