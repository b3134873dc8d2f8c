//! The product for machines without bf16 instructions: f32 copies of the rounded operands, multiplied as f32. Slower
//! than the f32 product by the copying; it exists so that a run gives the same results, up to the order of summation,
//! on every machine.

use std::cell::RefCell;

use super::Strided;

thread_local! {
    /// Rounded copies of both operands, kept by each thread.
    static COPIES: RefCell<(Vec<f32>, Vec<f32>)> = RefCell::default();
}

/// `super::multiply` for operands whose shapes have been checked, none of them empty.
pub(super) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Strided<'_>, b: Strided<'_>) {
    assert!(super::extent(a.rows, b.cols, dst_stride, 1).is_some_and(|end| end <= dst.len()));
    assert_eq!(a.cols, b.rows);
    COPIES.with_borrow_mut(|(a_copy, b_copy)| {
        let (a, b) = (copy(a_copy, a), copy(b_copy, b));
        // SAFETY: each copy holds every element of its view (`copy` has sliced it so), dst holds the product's (first
        // assertion), the inner sizes agree (second), and dst, borrowed mutably, does not overlap the copies.
        unsafe {
            gemm::gemm(
                a.rows,
                b.cols,
                a.cols,
                dst.as_mut_ptr(),
                1,
                dst_stride as isize,
                accumulate,
                a.data.as_ptr(),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr(),
                b.col_stride as isize,
                b.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    });
}

/// A copy of the view without gaps, its elements rounded; in rows if the view's rows are contiguous, else in columns.
fn copy<'a>(space: &'a mut Vec<f32>, view: Strided<'_>) -> Strided<'a> {
    if view.col_stride != 1 {
        return copy(space, view.transposed()).transposed();
    }
    let Strided { rows, cols, .. } = view;
    if space.len() < rows * cols {
        space.resize(rows * cols, 0.0);
    }
    for (row, to) in space.chunks_exact_mut(cols).take(rows).enumerate() {
        for (to, &from) in to.iter_mut().zip(view.row(row)) {
            *to = round(from);
        }
    }
    Strided { data: &space[..rows * cols], rows, cols, row_stride: cols, col_stride: 1 }
}

/// Rounds to the nearest bf16, ties to even, exactly as the instructions do: a subnormal becomes a zero of its sign, a
/// NaN a quiet NaN.
pub(super) fn round(value: f32) -> f32 {
    const TOP: u32 = 0xffff_0000;
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let rounded = if magnitude < f32::MIN_POSITIVE.to_bits() {
        bits & 0x8000_0000
    } else if magnitude > f32::INFINITY.to_bits() {
        (bits | 0x0040_0000) & TOP
    } else {
        (bits + 0x7fff + (bits >> 16 & 1)) & TOP
    };
    f32::from_bits(rounded)
}
