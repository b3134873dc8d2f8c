//! Matrix products, all through one function.

use std::ops::Range;

/// A matrix in a slice: entry (i, j) at `i·row_stride + j·column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, the rows one after the other; as many rows as the slice holds.
    pub(crate) fn new(numbers: &'a [f32], columns: usize) -> Self {
        let rows = numbers.len().checked_div(columns).unwrap_or(0);
        Matrix { numbers, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        let Matrix { numbers, rows, columns, row_stride, column_stride } = self;
        Matrix { numbers, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows);
        let start = (range.start * self.row_stride).min(self.numbers.len());
        Matrix { numbers: &self.numbers[start..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        self.t().rows(range).t()
    }

    /// Numbers from the first entry to the last.
    fn extent(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// What becomes of the numbers at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// Type of a product's operands; sums are in f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Precision {
    /// As they are.
    #[default]
    F32,
}

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Products {
    /// The operands' type.
    pub(crate) precision: Precision,
}

impl Products {
    /// C = A B or C += A B, where row i of C is at `i·stride` in `to`.
    ///
    /// # Panics
    /// If the shapes do not fit, or a matrix does not lie in its slice.
    pub(crate) fn multiply(self, to: &mut [f32], stride: usize, store: Store, a: Matrix<'_>, b: Matrix<'_>) {
        let (m, n, k) = (a.rows, b.columns, a.columns);
        assert_eq!(k, b.rows, "inner dimensions");
        assert!(a.extent() <= a.numbers.len() && b.extent() <= b.numbers.len(), "an operand ends outside its slice");
        if m == 0 || n == 0 {
            return;
        }
        assert!(n <= stride && (m - 1) * stride + n <= to.len(), "the product does not fit its destination");
        let signed = |stride: usize| stride as isize;
        // SAFETY: the assertions above say that every entry that `gemm` reads or writes, given these shapes and
        // strides, lies in the three slices; `to` is borrowed uniquely and its entries are distinct (n ≤ stride).
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                to.as_mut_ptr(),
                1,
                signed(stride),
                store == Store::Add,
                a.numbers.as_ptr(),
                signed(a.column_stride),
                signed(a.row_stride),
                b.numbers.as_ptr(),
                signed(b.column_stride),
                signed(b.row_stride),
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
