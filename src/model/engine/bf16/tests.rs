//! Every way to multiply against products in f64, and against each other.

use super::*;
use crate::model::engine::matrix::extent;

/// A way to multiply shapes that `prepare` has checked.
type Way = fn(&mut [f32], usize, bool, Matrix<'_>, Matrix<'_>);

/// The ways that this machine has, the plain one first.
fn ways() -> Vec<(&'static str, Way)> {
    let mut ways: Vec<(&'static str, Way)> = vec![("rounded", rounded::multiply)];
    #[cfg(target_arch = "x86_64")]
    if avx512::supported() {
        ways.push(("avx512", avx512::multiply));
        // On machines without AMX it uses other kernels of its own, which are as good for a test of our side.
        #[cfg(feature = "onednn")]
        ways.push(("onednn", onednn::multiply));
    }
    ways
}

/// Numbers in (-2, 2), the same for the same seed.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..count).map(|_| next()).collect()
}

/// The rows × cols matrix in `data`: by rows or (`turned`) by columns, `gap` numbers between them.
fn view(data: &[f32], rows: usize, cols: usize, turned: bool, gap: usize) -> Matrix<'_> {
    match turned {
        false => Matrix { data, rows, cols, row_stride: cols + gap, col_stride: 1 },
        true => Matrix { data, rows, cols, row_stride: 1, col_stride: rows + gap },
    }
}

/// Numbers for `view` to hold exactly, without any after its last.
fn matrix(rows: usize, cols: usize, turned: bool, gap: usize, seed: u64) -> Vec<f32> {
    let shape = view(&[], rows, cols, turned, gap);
    numbers(extent(rows, cols, shape.row_stride, shape.col_stride).unwrap(), seed)
}

fn at(of: Matrix<'_>, row: usize, col: usize) -> f32 {
    of.data[row * of.row_stride + col * of.col_stride]
}

/// Checks dst against `before` + a · b in f64 of rounded operands, and that what lies between its rows is untouched.
fn check(name: &str, dst: &[f32], before: &[f32], stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    for (place, (&found, &old)) in dst.iter().zip(before).enumerate() {
        let (row, col) = (place / stride, place % stride);
        if col >= b.cols {
            assert_eq!(found, old, "{name}: written between rows, at ({row}, {col})");
            continue;
        }
        let (mut sum, mut size) = (0.0, 0.0);
        for k in 0..a.cols {
            let product = f64::from(rounded::round(at(a, row, k))) * f64::from(rounded::round(at(b, k, col)));
            sum += product;
            size += product.abs();
        }
        if accumulate {
            sum += f64::from(old);
            size += f64::from(old.abs());
        }
        // The bound of any order of f32 additions: one rounding of the running sum (at most `size`) per addend.
        let bound = size * (a.cols + 1) as f64 * f64::from(f32::EPSILON) / 2.0;
        let difference = (f64::from(found) - sum).abs();
        assert!(difference <= bound, "{name}: {found} for {sum} at ({row}, {col}) of {a:?}·{b:?}, bound {bound}");
    }
}

/// One product in every way, checked.
fn try_product(m: usize, n: usize, k: usize, turned: (bool, bool), gap: usize, accumulate: bool) {
    let (a, b) = (matrix(m, k, turned.0, gap, 1), matrix(k, n, turned.1, gap, 2));
    let (a, b) = (view(&a, m, k, turned.0, gap), view(&b, k, n, turned.1, gap));
    let before = matrix(m, n, false, gap, 3);
    for (name, way) in ways() {
        let mut dst = before.clone();
        if prepare(&mut dst, n + gap, accumulate, a, b) {
            way(&mut dst, n + gap, accumulate, a, b);
        }
        check(&format!("{name}, {m}×{n}×{k}, {turned:?}, {gap}"), &dst, &before, n + gap, accumulate, a, b);
    }
}

const LAYOUTS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// A product through the interface.
fn product(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let mut dst = vec![f32::NAN; a.rows * b.cols];
    multiply(&mut dst, b.cols, false, a, b);
    dst
}

#[test]
fn agrees_with_f64_at_odd_sizes_in_every_layout() {
    let sizes = [1, 3, 17, 65, 321];
    for (turn, turned) in LAYOUTS.into_iter().enumerate() {
        for (i, m) in sizes.into_iter().enumerate() {
            for (j, n) in sizes.into_iter().enumerate() {
                for (l, k) in sizes.into_iter().enumerate() {
                    // Gaps and accumulation alternate, so that each meets every size in some layout.
                    try_product(m, n, k, turned, (i + j + l) % 3, (i + j + l + turn) % 2 == 0);
                }
            }
        }
    }
}

#[test]
fn agrees_with_f64_at_every_edge_of_the_blocks() {
    for turned in LAYOUTS {
        // Panels of every height, and one to three lines with every remainder.
        for m in 1..45 {
            try_product(m, m + 1, 2, turned, 1, true);
        }
        // A tile's k by pairs and by chunks of 32, full and not.
        for k in 1..70 {
            try_product(5, 18, k, turned, 0, false);
        }
        // Several blocks of k (more than 512), and of rows (more than 36 panels of 14).
        try_product(9, 33, 1031, turned, 3, false);
        try_product(511, 20, 6, turned, 0, true);
        try_product(1013, 3, 515, turned, 2, false);
    }
}

#[test]
fn empty_products_are_zero_or_leave_what_is_there() {
    for turned in LAYOUTS {
        for accumulate in [false, true] {
            try_product(3, 4, 0, turned, 2, accumulate);
            try_product(0, 4, 5, turned, 2, accumulate);
            try_product(3, 0, 5, turned, 0, accumulate);
        }
    }
    let mut dst = [7.0; 5];
    let none = |rows, cols| Matrix { data: &[], rows, cols, row_stride: 1, col_stride: 1 };
    multiply(&mut dst, 3, false, none(2, 0), none(0, 2));
    assert_eq!(dst, [0.0, 0.0, 7.0, 0.0, 0.0]);
}

#[test]
fn rounding_is_to_nearest_even_and_flushes_subnormals() {
    let one = 1.0_f32.to_bits();
    let cases = [
        (one, one),
        (one + 0x7fff, one),
        (one + 0x8000, one),
        (one + 0x8001, one + 0x1_0000),
        (one + 0x1_8000, one + 0x2_0000),
        (f32::MAX.to_bits(), f32::INFINITY.to_bits()),
        (f32::NEG_INFINITY.to_bits(), f32::NEG_INFINITY.to_bits()),
        (0x007f_ffff, 0),
        (0x807f_ffff, 0x8000_0000),
        (0x0080_0000, 0x0080_0000),
        (0x8080_8001, 0x8081_0000),
        // A NaN whose mark is in the lower half only must not become an infinity.
        (0x7f80_0001, 0x7fc0_0000),
    ];
    for (from, to) in cases {
        assert_eq!(rounded::round(f32::from_bits(from)).to_bits(), to, "{from:x}");
    }
    // The machine's rounding, by products with one: every exponent and sign, all ways to round.
    let values: Vec<f32> = (0..=0xffff_u32)
        .flat_map(|top| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| f32::from_bits(top << 16 | low)))
        .collect();
    for turned in [false, true] {
        for (name, way) in ways() {
            let (column, one) = (view(&values, values.len(), 1, turned, 0), view(&[1.0], 1, 1, false, 0));
            for (a, b) in [(column, one), (one, column.t())] {
                let mut dst = vec![0.0; values.len()];
                way(&mut dst, b.cols, false, a, b);
                for (&value, &found) in values.iter().zip(&dst) {
                    let expected = rounded::round(value);
                    let agree = found == expected || found.is_nan() && expected.is_nan();
                    assert!(agree, "{name}: {value:e} became {found:e}, not {expected:e}");
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_their_rows_and_columns_only() {
    let (m, n, k) = (19, 37, 33);
    for turned in LAYOUTS {
        for (special, place) in [(f32::NAN, 32), (f32::INFINITY, 0), (f32::NEG_INFINITY, 31)] {
            let (mut a, mut b) = (matrix(m, k, turned.0, 0, 4), matrix(k, n, turned.1, 0, 5));
            let (row, col) = (17, 36);
            a[if turned.0 { place * m + row } else { row * k + place }] = special;
            b[if turned.1 { col * k + place } else { place * n + col }] = special;
            let (a, b) = (view(&a, m, k, turned.0, 0), view(&b, k, n, turned.1, 0));
            for (name, way) in ways() {
                let mut dst = vec![0.0; m * n];
                way(&mut dst, n, false, a, b);
                for (place_in, &found) in dst.iter().enumerate() {
                    let (i, j) = (place_in / n, place_in % n);
                    // The specials meet each other in one element: NaN, or the infinity squared.
                    let expected = at(a, i, place) * at(b, place, j);
                    let special_here = i == row || j == col;
                    let fine = match special_here {
                        false => found.is_finite(),
                        true if special.is_nan() => found.is_nan(),
                        true => found == expected,
                    };
                    assert!(fine, "{name}: {found} at ({i}, {j}), {turned:?}");
                }
            }
        }
    }
    // ∞ · 0 and ∞ - ∞.
    let a = [f32::INFINITY, f32::INFINITY];
    for (b, what) in [([0.0, 1.0], "∞·0"), ([1.0, -1.0], "∞-∞")] {
        let found = product(view(&a, 1, 2, false, 0), view(&b, 2, 1, false, 0));
        assert!(found[0].is_nan(), "{what} is {}", found[0]);
    }
}

#[test]
fn subnormal_operands_count_as_zero_in_every_way() {
    let (small, large) = (1e-39_f32, 1e38_f32);
    let (a, b) = ([small, 2.0], [large, 3.0]);
    for (name, way) in ways() {
        let mut dst = [0.0];
        way(&mut dst, 1, false, view(&a, 1, 2, false, 0), view(&b, 2, 1, false, 0));
        assert_eq!(dst, [6.0], "{name}");
    }
}

#[test]
fn the_same_bits_every_time_on_every_thread() {
    let (m, n, k) = (168, 100, 641);
    let (a, b) = (matrix(m, k, false, 0, 6), matrix(k, n, true, 0, 7));
    let run = || product(view(&a, m, k, false, 0), view(&b, k, n, true, 0));
    let first = run();
    // Workspaces that hold something else before.
    let other = matrix(200, 700, false, 0, 8);
    product(view(&other, 200, 700, false, 0), view(&other, 200, 700, false, 0).t());
    assert_eq!(run(), first);
    std::thread::scope(|scope| {
        for thread in [scope.spawn(run), scope.spawn(run)] {
            assert_eq!(thread.join().unwrap(), first);
        }
    });
    // An element does not depend on the rows beside it.
    let alone = product(view(&a[..3 * k], 3, k, false, 0), view(&b, k, n, true, 0));
    assert_eq!(alone, first[..3 * n]);
}

#[test]
#[should_panic(expected = "inner sizes")]
fn inner_sizes_must_agree() {
    product(view(&[0.0; 6], 2, 3, false, 0), view(&[0.0; 4], 2, 2, false, 0));
}

#[test]
fn short_slices_and_overlaps_are_refused() {
    let refused = |dst: usize, stride: usize, a: Matrix<'_>, b: Matrix<'_>| {
        let attempt = || multiply(&mut vec![0.0; dst], stride, false, a, b);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_err()
    };
    let data = [1.0; 6];
    let good = view(&data, 2, 3, false, 0);
    assert!(!refused(4, 2, good, good.t()));
    assert!(refused(3, 2, good, good.t()), "the product's slice is too short");
    assert!(refused(4, 1, good, good.t()), "the product's rows overlap");
    let short = Matrix { data: &data[..5], ..good };
    assert!(refused(4, 2, short, good.t()), "a is too short");
    assert!(refused(4, 2, good, short.t()), "b is too short");
    let spread = Matrix { row_stride: 2, col_stride: 2, cols: 1, ..good };
    assert!(refused(4, 2, spread, spread.t()), "neither stride is 1");
    // Where multiplication wraps around, it would seem to be 3.
    assert_eq!(extent(3, 1, usize::MAX / 2 + 2, 1), None);
    let far = Matrix { row_stride: usize::MAX / 2 + 2, rows: 3, ..good };
    assert!(refused(9, 3, far, good.t()), "an extent beyond counting");
}

/// Memory whose last number is followed, and whose first is preceded, by a page that must not be touched.
#[cfg(target_os = "linux")]
mod guarded {
    /// Anonymous pages between two forbidden ones.
    pub struct Guarded {
        base: *mut libc::c_void,
        len: usize,
        page: usize,
    }

    impl Guarded {
        /// Room for `numbers` numbers at least.
        pub fn new(numbers: usize) -> Guarded {
            // SAFETY: asking for a constant of the system.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            let len = (numbers * size_of::<f32>()).next_multiple_of(page).max(page);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping anywhere, of which the inner pages are then made accessible.
            let base = unsafe { libc::mmap(std::ptr::null_mut(), len + 2 * page, libc::PROT_NONE, flags, -1, 0) };
            assert_ne!(base, libc::MAP_FAILED);
            // SAFETY: the pages lie within the mapping.
            let done = unsafe { libc::mprotect(base.byte_add(page), len, libc::PROT_READ | libc::PROT_WRITE) };
            assert_eq!(done, 0);
            Guarded { base, len, page }
        }

        /// The last `count` numbers before the forbidden page, or the first ones after the other.
        pub fn numbers(&mut self, count: usize, last: bool) -> &mut [f32] {
            assert!(count * size_of::<f32>() <= self.len);
            let skip = if last { self.len - count * size_of::<f32>() } else { 0 };
            // SAFETY: the numbers lie within the accessible pages, which are zeroed, aligned, and borrowed with self.
            unsafe { std::slice::from_raw_parts_mut(self.base.byte_add(self.page + skip).cast(), count) }
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours, and nothing borrows from it any more.
            unsafe { libc::munmap(self.base, self.len + 2 * self.page) };
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_outside_the_slices_is_touched() {
    let mut memory = [0; 3].map(|_| guarded::Guarded::new(80 * 80));
    for turned in LAYOUTS {
        for (m, n, k) in [(1, 1, 1), (3, 17, 5), (14, 32, 32), (15, 33, 31), (29, 65, 67), (31, 48, 64)] {
            for last in [false, true] {
                let sources = [matrix(m, k, turned.0, 1, 1), matrix(k, n, turned.1, 1, 2), matrix(m, n, false, 1, 3)];
                let [a, b, dst] = memory.each_mut();
                let [a, b, dst] = [(a, 0), (b, 1), (dst, 2)].map(|(memory, i)| {
                    let numbers = memory.numbers(sources[i].len(), last);
                    numbers.copy_from_slice(&sources[i]);
                    numbers
                });
                let (a, b) = (view(a, m, k, turned.0, 1), view(b, k, n, turned.1, 1));
                for (name, way) in ways() {
                    dst.copy_from_slice(&sources[2]);
                    way(dst, n + 1, true, a, b);
                    check(name, dst, &sources[2], n + 1, true, a, b);
                }
            }
        }
    }
}
