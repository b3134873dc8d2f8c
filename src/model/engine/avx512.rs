//! The f32 product by AVX-512, for large matrices: as many operations a second as `gemm` at its best, but packing costs
//! little where the second operand is a transposed matrix of weights, which `gemm` packs element by element.
//!
//! Legend: a *line* is 16 numbers of the same k, of 16 *lanes*, which are rows of a or columns of b.

use core::arch::x86_64::*;
use std::cell::RefCell;

use super::bf16::avx512::{LINE, Out, load, store, transpose};
use super::matrix::Matrix;

/// Rows of a tile of sums: 14 × 2 registers of them leave 4 of the 32 for operands.
const ROWS: usize = 14;
/// Registers of a full tile's row.
const WIDTH: usize = 2;
/// The most k that are summed before the sums go to memory: a panel of b stays in the first-level cache.
const DEPTH: usize = 512;
/// The most panels of a that are packed at a time, for the second-level cache.
const PANELS: usize = 40;

/// Memory for packed operands, kept by each thread.
#[derive(Default)]
struct Workspace {
    a: Vec<f32>,
    b: Vec<f32>,
}

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Whether this machine has every instruction used here.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// dst = a · b, or dst += a · b with `accumulate`, for operands whose shapes have been checked, none of them empty.
///
/// # Panics
/// If the machine lacks the instructions.
pub(super) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(supported(), "a product by AVX-512 on a machine without it");
    WORKSPACE.with_borrow_mut(|workspace| {
        // SAFETY: the machine has the instructions that the function is compiled for, as was just seen.
        unsafe { blocks(workspace, dst, dst_stride, accumulate, a, b.t()) }
    });
}

/// dst (+)= a · bᵀ, block by block of k and then of a's rows. Each sum's order of additions depends on k alone.
#[target_feature(enable = "avx512f")]
fn blocks(space: &mut Workspace, dst: &mut [f32], stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    // Panels of equal height: 15 rows are 8 + 7, not 14 + 1.
    let height = a.rows.div_ceil(a.rows.div_ceil(ROWS));
    let depth = a.cols.div_ceil(a.cols.div_ceil(DEPTH)).next_multiple_of(LINE);
    for k in (0..a.cols).step_by(depth) {
        let ks = depth.min(a.cols - k);
        for first in (0..a.rows).step_by(PANELS * height) {
            let rows = (PANELS * height).min(a.rows - first);
            let packed = room(&mut space.a, rows.div_ceil(height) * height * ks);
            pack(packed, a.part(first, rows, k, ks), height, |panel| (panel * height * ks, height));
            for col in (0..b.rows).step_by(WIDTH * LINE) {
                let cols = (WIDTH * LINE).min(b.rows - col);
                let lines = cols.div_ceil(LINE);
                let columns = room(&mut space.b, lines * LINE * ks);
                pack(columns, b.part(col, cols, k, ks), LINE, |line| (line * LINE, lines * LINE));
                let next = (WIDTH * LINE).min(b.rows - col - cols);
                prefetch(b.part(if next == 0 { 0 } else { col + cols }, next, k, ks));
                let dst = &mut dst[first * stride + col..];
                Block { a: packed, b: columns, height, depth: ks }.sums(Out {
                    dst,
                    stride,
                    rows,
                    cols,
                    add: accumulate || k > 0,
                });
            }
        }
    }
}

/// The first `len` places of the buffer that begin at a cache line, whatever they hold.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0.0);
    }
    let skip = buffer.as_ptr().align_offset(size_of::<[f32; LINE]>()).min(LINE);
    &mut buffer[skip..skip + len]
}

/// Asks for a view's numbers, which are needed soon.
#[target_feature(enable = "avx512f")]
fn prefetch(view: Matrix<'_>) {
    let lines = if view.col_stride == 1 { view } else { view.t() };
    for row in 0..lines.rows {
        for part in lines.row(row).chunks(LINE) {
            _mm_prefetch::<_MM_HINT_T1>(part.as_ptr().cast());
        }
    }
}

/// Writes the view as lines of `height` rows (16 at most): the line of rows `i * height..` and of column `k` goes to
/// `offset + k * step` where `place(i)` is (offset, step). Rows beyond the view's last are filled with anything.
#[target_feature(enable = "avx512f")]
fn pack(out: &mut [f32], view: Matrix<'_>, height: usize, place: impl Fn(usize) -> (usize, usize)) {
    if view.row_stride == 1 {
        for k in 0..view.cols {
            for (line, numbers) in view.column(k).chunks(height).enumerate() {
                let (offset, step) = place(line);
                store(&mut out[offset + k * step..][..height], load(numbers));
            }
        }
        return;
    }
    for line in 0..view.rows.div_ceil(height) {
        let (offset, step) = place(line);
        for chunk in (0..view.cols).step_by(LINE) {
            let cols = (view.cols - chunk).min(LINE);
            let mut square = [_mm512_setzero_si512(); LINE];
            for lane in 0..LINE {
                let row = &view.row((line * height + lane).min(view.rows - 1))[chunk..];
                // Of a known length, so that no mask is needed.
                let numbers = row.first_chunk::<LINE>().map_or_else(|| load(row), |whole| load(whole));
                square[lane] = _mm512_castps_si512(numbers);
            }
            let square = transpose::<8>(transpose::<4>(transpose::<2>(transpose::<1>(square))));
            let out = &mut out[offset + chunk * step..];
            if let (LINE, LINE) = (height, cols) {
                for k in 0..LINE {
                    if let Some(whole) = out[k * step..].first_chunk_mut::<LINE>() {
                        store(whole, _mm512_castsi512_ps(square[k]));
                    }
                }
            } else {
                for k in 0..cols {
                    store(&mut out[k * step..][..height], _mm512_castsi512_ps(square[k]));
                }
            }
        }
    }
}

/// Packed operands of one block: all panels of a, one of b.
struct Block<'a> {
    /// Panels of `height` rows, k by k.
    a: &'a [f32],
    /// At most `WIDTH` lines, k by k.
    b: &'a [f32],
    height: usize,
    depth: usize,
}

impl Block<'_> {
    /// The block's sums to its rows of the product.
    #[target_feature(enable = "avx512f")]
    fn sums(&self, mut out: Out<'_>) {
        let lines = out.cols.div_ceil(LINE);
        for (panel, a) in self.a.chunks_exact(self.height * self.depth).enumerate() {
            let out = out.rows_from(panel * self.height, self.height);
            match lines {
                1 => self.tile_of_height::<1>(a, out),
                _ => self.tile_of_height::<WIDTH>(a, out),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn tile_of_height<const N: usize>(&self, a: &[f32], out: Out<'_>) {
        match self.height {
            1 => tile::<1, N>(a, self.b, out),
            2 => tile::<2, N>(a, self.b, out),
            3 => tile::<3, N>(a, self.b, out),
            4 => tile::<4, N>(a, self.b, out),
            5 => tile::<5, N>(a, self.b, out),
            6 => tile::<6, N>(a, self.b, out),
            7 => tile::<7, N>(a, self.b, out),
            8 => tile::<8, N>(a, self.b, out),
            9 => tile::<9, N>(a, self.b, out),
            10 => tile::<10, N>(a, self.b, out),
            11 => tile::<11, N>(a, self.b, out),
            12 => tile::<12, N>(a, self.b, out),
            13 => tile::<13, N>(a, self.b, out),
            14 => tile::<14, N>(a, self.b, out),
            _ => unreachable!("a panel is higher than {ROWS}"),
        }
    }
}

/// The sums of M rows and N lines of columns, all in registers.
#[target_feature(enable = "avx512f")]
fn tile<const M: usize, const N: usize>(a: &[f32], b: &[f32], out: Out<'_>) {
    out.prefetch();
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let (a, _) = a.as_chunks::<M>();
    let (lines, _) = b.as_chunks::<LINE>();
    let (b, _) = lines.as_chunks::<N>();
    for (a, b) in a.iter().zip(b) {
        let mut columns = [_mm512_setzero_ps(); N];
        for n in 0..N {
            columns[n] = load(&b[n]);
        }
        for m in 0..M {
            let row = _mm512_set1_ps(a[m]);
            for n in 0..N {
                sums[m][n] = _mm512_fmadd_ps(row, columns[n], sums[m][n]);
            }
        }
    }
    out.put(sums);
}
