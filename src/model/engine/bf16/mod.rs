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
mod avx512;
#[cfg(all(target_arch = "x86_64", feature = "onednn"))]
mod onednn;
mod rounded;
#[cfg(test)]
mod tests;

/// A matrix within a slice: element (row, col) is at `row * row_stride + col * col_stride`; one stride is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a> {
    /// The slice, from the first element on.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// From a row to the next.
    pub row_stride: usize,
    /// From a column to the next.
    pub col_stride: usize,
}

impl<'a> Strided<'a> {
    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Strided<'a> {
        let Strided { data, rows, cols, row_stride, col_stride } = self;
        Strided { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// `rows` rows from `row` on of `cols` columns from `col` on.
    fn part(self, row: usize, rows: usize, col: usize, cols: usize) -> Strided<'a> {
        Strided { data: &self.data[row * self.row_stride + col * self.col_stride..], rows, cols, ..self }
    }

    /// A row of a view whose columns are neighbours.
    fn row(&self, row: usize) -> &'a [f32] {
        debug_assert_eq!(self.col_stride, 1);
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// A column of a view whose rows are neighbours.
    fn column(&self, col: usize) -> &'a [f32] {
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
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let last = (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?;
    last.checked_add(1)
}

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
pub(crate) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Strided<'_>, b: Strided<'_>) {
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

/// Checks the shapes and does what can be done without multiplying; whether there is anything left to do.
fn prepare(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Strided<'_>, b: Strided<'_>) -> bool {
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
