//! The product by oneDNN, which has kernels for AMX, the matrix registers of Intel's server CPUs since Sapphire Rapids.
//! Sizes of atoms' batches differ from step to step, so the primitives are made for any sizes.

use std::cell::RefCell;

use super::{Matrix, avx512, rounded};

unsafe extern "C" {
    safe fn qsd_onednn_amx() -> bool;
    fn qsd_onednn_multiply(
        dst: *mut f32,
        dst_stride: i64,
        accumulate: bool,
        a: *const u16,
        a_turned: bool,
        b: *const u16,
        b_turned: bool,
        m: i64,
        n: i64,
        k: i64,
    ) -> bool;
}

thread_local! {
    /// Rounded copies of both operands, kept by each thread.
    static COPIES: RefCell<(Vec<u16>, Vec<u16>)> = RefCell::default();
}

/// Whether this machine has AMX for bf16.
pub(super) fn supported() -> bool {
    static SUPPORTED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| avx512::supported() && qsd_onednn_amx());
    *SUPPORTED
}

/// `super::multiply` for operands whose shapes have been checked, none of them empty.
///
/// # Panics
/// If the machine lacks AVX-512's bf16 instructions, by which operands are rounded, or oneDNN fails.
pub(super) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(super::extent(a.rows, b.cols, dst_stride, 1).is_some_and(|end| end <= dst.len()));
    assert_eq!(a.cols, b.rows);
    COPIES.with_borrow_mut(|(a_copy, b_copy)| {
        let a_turned = rounded::copy(a_copy, a, avx512::narrow);
        let b_turned = rounded::copy(b_copy, b, avx512::narrow);
        // A row alone may be given any stride; oneDNN wants one that rows could have.
        let stride = dst_stride.max(b.cols);
        // SAFETY: the copies hold every element of the operands without gaps, by rows or by columns as told, dst the
        // product's (first assertion); they do not overlap; sizes of things in memory fit i64; nothing is kept.
        let done = unsafe {
            qsd_onednn_multiply(
                dst.as_mut_ptr(),
                stride as i64,
                accumulate,
                a_copy.as_ptr(),
                a_turned,
                b_copy.as_ptr(),
                b_turned,
                a.rows as i64,
                b.cols as i64,
                a.cols as i64,
            )
        };
        assert!(done, "oneDNN cannot multiply {}×{} by {}×{}", a.rows, a.cols, b.rows, b.cols);
    });
}
