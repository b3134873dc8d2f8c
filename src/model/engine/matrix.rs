//! Matrix products, all through one function.

use std::ops::Range;

use serde::{Deserialize, Serialize};

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

    /// Whether the slice holds every element, and one stride is 1.
    fn is_sound(&self) -> bool {
        let end = extent(self.rows, self.cols, self.row_stride, self.col_stride);
        (self.row_stride == 1 || self.col_stride == 1) && end.is_some_and(|end| end <= self.data.len())
    }
}

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
        match self.precision {
            Precision::F32 => f32_product(to, stride, store == Store::Add, a, b),
            Precision::Bf16 => bf16::multiply(to, stride, store == Store::Add, a, b),
        }
    }
}

/// dst = a · b, or dst += a · b with `accumulate`, in f32.
pub(super) fn f32_product(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    if !prepare(dst, dst_stride, accumulate, a, b) {
        return;
    }
    let [a_rows, a_cols, b_rows, b_cols] =
        [a.row_stride, a.col_stride, b.row_stride, b.col_stride].map(|stride| stride as isize);
    // SAFETY: `prepare` has seen that every element of the operands and of the product, by these sizes and strides,
    // lies in its slice, and that the product's rows do not overlap; `dst` is borrowed uniquely.
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
