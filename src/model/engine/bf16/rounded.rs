//! The product for machines without bf16 instructions: f32 copies of the rounded operands, multiplied as f32. Slower
//! than the f32 product by the copying; it exists so that a run gives the same results, up to the order of summation,
//! on every machine.

use std::cell::RefCell;

use crate::model::engine::matrix::{Matrix, f32_product};

thread_local! {
    /// Rounded copies of both operands, kept by each thread.
    static COPIES: RefCell<(Vec<f32>, Vec<f32>)> = RefCell::default();
}

/// `super::multiply` for operands whose shapes have been checked, none of them empty.
pub(super) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    COPIES.with_borrow_mut(|(a_copy, b_copy)| {
        let turned = (copy(a_copy, a, round_all), copy(b_copy, b, round_all));
        let (a, b) = (view(a_copy, turned.0, a), view(b_copy, turned.1, b));
        f32_product(dst, dst_stride, accumulate, a, b);
    });
}

/// Copies the view without gaps through `convert`; by rows if the view's rows are contiguous, else by columns: whether
/// by columns.
pub(super) fn copy<T: Copy + Default>(space: &mut Vec<T>, view: Matrix<'_>, convert: fn(&[f32], &mut [T])) -> bool {
    let turned = view.col_stride != 1;
    let Matrix { rows, cols, .. } = view;
    if space.len() < rows * cols {
        space.resize(rows * cols, T::default());
    }
    let lines = if turned { view.t() } else { view };
    for (line, to) in space.chunks_exact_mut(lines.cols).take(lines.rows).enumerate() {
        convert(lines.row(line), to);
    }
    turned
}

/// [`round`] for each number.
fn round_all(from: &[f32], to: &mut [f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = round(from);
    }
}

/// The view of a copy of `of`.
fn view<'a>(data: &'a [f32], turned: bool, of: Matrix<'_>) -> Matrix<'a> {
    let Matrix { rows, cols, .. } = of;
    let (row_stride, col_stride) = if turned { (1, rows) } else { (cols, 1) };
    Matrix { data: &data[..rows * cols], rows, cols, row_stride, col_stride }
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
