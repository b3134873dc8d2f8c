//! Matrix products, all through one function.

use std::cell::RefCell;
use std::ops::Range;

use serde::{Deserialize, Serialize};

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::bf16;

/// A matrix within a slice: element (row, col) is at `row * row_stride + col * col_stride`; one stride is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    /// The slice, from the first element on.
    pub(super) data: &'a [f32],
    /// Number of rows.
    pub(super) rows: usize,
    /// Number of columns.
    pub(super) cols: usize,
    /// From a row to the next.
    pub(super) row_stride: usize,
    /// From a column to the next.
    pub(super) col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `cols` numbers, one after the other; as many as the slice holds.
    pub(crate) fn new(data: &'a [f32], cols: usize) -> Self {
        Matrix { data, rows: data.len().checked_div(cols).unwrap_or(0), cols, row_stride: cols, col_stride: 1 }
    }

    /// Rows and columns exchanged.
    pub(crate) fn t(self) -> Self {
        let Matrix { data, rows, cols, row_stride, col_stride } = self;
        Matrix { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        Matrix { data: &self.data[(range.start * self.row_stride).min(self.data.len())..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        self.t().rows(range).t()
    }

    /// `rows` rows from `row` on of `cols` columns from `col` on.
    pub(super) fn part(self, row: usize, rows: usize, col: usize, cols: usize) -> Self {
        Matrix { data: &self.data[row * self.row_stride + col * self.col_stride..], rows, cols, ..self }
    }

    /// A row of a view whose columns are neighbours.
    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        debug_assert_eq!(self.col_stride, 1);
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// A column of a view whose rows are neighbours.
    pub(super) fn column(&self, col: usize) -> &'a [f32] {
        debug_assert_eq!(self.row_stride, 1);
        &self.data[col * self.col_stride..][..self.rows]
    }

    /// Asks for the numbers, which are needed soon, unless they would push each other out of a second-level cache.
    fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        if self.rows * self.cols <= PREFETCHED {
            use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            let lines = if self.col_stride == 1 { self } else { self.t() };
            for row in 0..lines.rows {
                for part in
                    lines.data.get(row * lines.row_stride..).unwrap_or(&[]).chunks(16).take(lines.cols.div_ceil(16))
                {
                    // SAFETY: a hint that accesses nothing.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(part.as_ptr().cast()) }
                }
            }
        }
    }

    /// Whether the slice holds every element, and one stride is 1.
    fn is_sound(&self) -> bool {
        let end = extent(self.rows, self.cols, self.row_stride, self.col_stride);
        (self.row_stride == 1 || self.col_stride == 1) && end.is_some_and(|end| end <= self.data.len())
    }
}

/// The most numbers that are asked for at once.
#[cfg(target_arch = "x86_64")]
const PREFETCHED: usize = 1 << 17;

/// How long a slice must be to hold a matrix; none if that is beyond counting.
pub(super) fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let last = (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?;
    last.checked_add(1)
}

/// What becomes of the numbers at a result's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// They are replaced.
    Replace,
    /// The result is added to them.
    Add,
}

/// Type of a product's operands; sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16, 8 bits of precision: twice as fast on processors with AVX-512 bf16 that have the units for
    /// it, more with AMX (cargo feature `onednn`); slower on others.
    Bf16,
}

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Products {
    /// The operands' type.
    pub(crate) precision: Precision,
}

impl Products {
    /// C = A B or C += A B, where C has A's rows, `stride` apart in `to`, and B's columns.
    ///
    /// # Panics
    /// If sizes do not agree, a slice is too short, or rows of C overlap.
    pub(crate) fn multiply(self, to: &mut [f32], stride: usize, store: Store, a: Matrix<'_>, b: Matrix<'_>) {
        // b is weights or what the forward pass left: most of it was used long ago. So were gradients that are added to.
        b.prefetch();
        if store == Store::Add {
            Matrix { data: to, rows: a.rows, cols: b.cols, row_stride: stride, col_stride: 1 }.prefetch();
        }
        match self.precision {
            Precision::F32 => f32_product(to, stride, store == Store::Add, a, b),
            Precision::Bf16 => bf16::multiply(to, stride, store == Store::Add, a, b),
        }
    }
}

/// dst = a · b, or dst += a · b with `accumulate`, in f32. A row of the product depends on its row of a and on b
/// alone, to the bit: not on how many other rows there are.
pub(super) fn f32_product(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    if !prepare(dst, dst_stride, accumulate, a, b) {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if b.row_stride == 1 && b.cols > 1 && b.rows * b.cols >= LARGE && avx512::supported() {
        return avx512::multiply(dst, dst_stride, accumulate, a, b);
    }
    if a.rows < LEAST || b.cols < LEAST {
        padded_product(dst, dst_stride, accumulate, a, b);
    } else {
        direct_product(dst, dst_stride, accumulate, a, b);
    }
}

/// A transposed b of as many numbers goes to [`avx512`]: `gemm` packs it number by number.
#[cfg(target_arch = "x86_64")]
const LARGE: usize = 1 << 17;

/// `gemm` sums in another order when the product is one row or one column, or has at most 256 numbers: below so many
/// rows and columns, products are padded.
const LEAST: usize = 17;

thread_local! {
    /// Padded operands and product, kept by each thread.
    static PADDED: RefCell<[Vec<f32>; 3]> = RefCell::default();
}

/// [`f32_product`] with zeros added to the operands' rows and columns.
fn padded_product(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    PADDED.with_borrow_mut(|[a_space, b_space, product]| {
        let (rows, cols) = (a.rows.max(LEAST), b.cols.max(LEAST));
        let padded_a = pad(a, rows, a_space);
        let padded_b = pad(b.t(), cols, b_space).t();
        product.clear();
        product.resize(rows * cols, 0.0);
        if accumulate {
            for row in 0..a.rows {
                product[row * cols..][..b.cols].copy_from_slice(&dst[row * dst_stride..][..b.cols]);
            }
        }
        direct_product(product, cols, accumulate, padded_a, padded_b);
        for row in 0..a.rows {
            dst[row * dst_stride..][..b.cols].copy_from_slice(&product[row * cols..][..b.cols]);
        }
    });
}

/// The matrix with rows of zeros added to make `rows`; itself if it has as many.
fn pad<'a>(matrix: Matrix<'a>, rows: usize, space: &'a mut Vec<f32>) -> Matrix<'a> {
    if matrix.rows >= rows {
        return matrix;
    }
    let Matrix { cols, row_stride, col_stride, .. } = matrix;
    space.clear();
    space.resize(rows * cols, 0.0);
    for (row, line) in space.chunks_exact_mut(cols).take(matrix.rows).enumerate() {
        for (col, slot) in line.iter_mut().enumerate() {
            *slot = matrix.data[row * row_stride + col * col_stride];
        }
    }
    Matrix::new(space, cols)
}

/// [`f32_product`] of shapes that have been checked, as they are.
fn direct_product(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(extent(a.rows, b.cols, dst_stride, 1).is_some_and(|end| end <= dst.len()) && a.cols == b.rows);
    assert!(a.is_sound() && b.is_sound());
    let [a_rows, a_cols, b_rows, b_cols] =
        [a.row_stride, a.col_stride, b.row_stride, b.col_stride].map(|stride| stride as isize);
    // SAFETY: as has just been seen, every element of the operands and of the product, by these sizes and strides, lies
    // in its slice; `dst` is borrowed uniquely.
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
            a_cols,
            a_rows,
            b.data.as_ptr(),
            b_cols,
            b_rows,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Checks the shapes and does what can be done without multiplying; whether there is anything left to do.
pub(super) fn prepare(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) -> bool {
    let (rows, cols) = (a.rows, b.cols);
    assert_eq!(a.cols, b.rows, "the inner sizes of a product differ");
    assert!(a.is_sound() && b.is_sound(), "an operand's slice is too short, or neither of its strides is 1");
    assert!(rows <= 1 || cols <= dst_stride, "rows of a product overlap");
    let end = extent(rows, cols, dst_stride, 1);
    assert!(end.is_some_and(|end| end <= dst.len()), "a product's slice is too short");
    if a.cols == 0 && !accumulate {
        for row in 0..if cols == 0 { 0 } else { rows } {
            dst[row * dst_stride..][..cols].fill(0.0);
        }
    }
    rows > 0 && cols > 0 && a.cols > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine::testing::{largest_error, numbers};

    /// Each row alone and within many, for widths and depths of the networks; a stride larger than the width.
    #[test]
    fn a_row_of_a_product_does_not_depend_on_the_others() {
        const MOST: usize = 300;
        for (cols, depth) in [
            (1, 80),
            (1, 16),
            (2, 80),
            (3, 7),
            (32, 10),
            (64, 64),
            (80, 160),
            (160, 320),
            (480, 160),
            (256, 512),
            (64, 2048),
        ] {
            let (a, b, c) = (numbers(MOST * depth, 1), numbers(depth * cols, 2), numbers(MOST * (cols + 3), 3));
            for (turned, accumulate) in [(false, false), (true, false), (false, true), (true, true)] {
                let b = if turned { Matrix::new(&b, depth).t() } else { Matrix::new(&b, cols) };
                let product = |rows: Range<usize>| {
                    let mut c = c[rows.start * (cols + 3)..rows.end * (cols + 3)].to_vec();
                    f32_product(&mut c, cols + 3, accumulate, Matrix::new(&a, depth).rows(rows), b);
                    c
                };
                let name = format!("{depth} to {cols}, turned {turned}, accumulate {accumulate}");
                let whole = product(0..MOST);
                for rows in [0..1, 299..300, 4..6, 7..10, 9..13, 3..19, 3..20, 50..178, 1..258, 0..299] {
                    let part = product(rows.clone());
                    let expected = &whole[rows.start * (cols + 3)..rows.end * (cols + 3)];
                    let same = part.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{name}: rows {rows:?}");
                }
                let exact: Vec<f64> = (0..MOST * (cols + 3))
                    .map(|at| {
                        let (row, col, before) = (at / (cols + 3), at % (cols + 3), f64::from(c[at]));
                        let term = |k: usize| {
                            let entry = b.data[k * b.row_stride + col * b.col_stride];
                            f64::from(a[row * depth + k]) * f64::from(entry)
                        };
                        match col < cols {
                            true => (0..depth).map(term).sum::<f64>() + if accumulate { before } else { 0.0 },
                            false => before,
                        }
                    })
                    .collect();
                let limit = 1e-6 * (depth as f64 / 256.0).max(1.0);
                assert!(largest_error(&whole, &exact) < limit, "{name}");
            }
        }
    }
}
