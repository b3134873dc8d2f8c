//! Matrix products whose operands are rounded to bf16 (to nearest, ties to even) and whose sums are f32.
//!
//! A bf16 is the upper half of an f32: 8 bits of precision, the same range. The CPU's instructions treat subnormal
//! numbers as zero, operands and sums alike, and so does the rounding here on machines without the instructions, for
//! operands. Everything else follows f32: products with NaN and infinity are what they should be.
//!
//! | machine | done by | against the f32 product |
//! |---|---|---|
//! | AMX, if built with the feature `onednn` | `onednn`: oneDNN | faster |
//! | AVX-512 with bf16 | `avx512`: own packing and kernel | faster where the CPU is (AMD: twice a cycle) |
//! | any other | `rounded`: f32 product of rounded copies | slower: use `supported` |
//!
//! On one machine results are the same bits every time, for any number of threads that multiply side by side.

#[cfg(target_arch = "x86_64")]
pub(in crate::model::engine) mod avx512;
#[cfg(all(target_arch = "x86_64", feature = "onednn"))]
mod onednn;
mod rounded;
#[cfg(test)]
mod tests;

use super::matrix::{Matrix, prepare};

/// Whether this machine has instructions for bf16; without them [`multiply`] is slower than a product in f32. (The
/// standard library looks once and remembers.)
pub(crate) fn supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx512::supported();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// dst = a · b, or dst += a · b with `accumulate`, where dst has a's rows, `dst_stride` apart, and b's columns. Needs no
/// memory once a thread has seen its largest operands.
///
/// # Panics
/// If sizes do not agree, a slice is too short, neither stride of an operand is 1, or rows of dst overlap.
pub(crate) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    if !prepare(dst, dst_stride, accumulate, a, b) {
        return;
    }
    #[cfg(all(target_arch = "x86_64", feature = "onednn"))]
    if onednn::supported() {
        return onednn::multiply(dst, dst_stride, accumulate, a, b);
    }
    #[cfg(target_arch = "x86_64")]
    if avx512::supported() {
        return avx512::multiply(dst, dst_stride, accumulate, a, b);
    }
    rounded::multiply(dst, dst_stride, accumulate, a, b);
}
