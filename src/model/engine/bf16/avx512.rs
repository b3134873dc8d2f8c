//! The product by AVX-512's bf16 instructions: operands are packed as pairs of neighbouring k, one `vdpbf16ps` adds
//! the products of 16 pairs to 16 sums.
//!
//! Legend: a *pair* is a `u32` that holds the bf16 of an even k (low half) and of the k after it (high half); a *line*
//! is 16 pairs: of the same two k and 16 *lanes*, which are rows of a or columns of b; or, where rows of a are packed
//! as they are, of one row and 32 k. The kernel takes one pair of a at a time, so that a need not be transposed.

use core::arch::x86_64::*;
use std::cell::RefCell;

use pulp::bytemuck::cast_slice_mut;

use super::super::Buffer;
use super::Matrix;

/// Lanes of a line.
pub(in crate::model::engine) const LINE: usize = 16;
/// The most rows of a tile of sums: 14 × 2 registers of them leave 4 of the 32 for operands.
const ROWS: usize = 14;
/// Registers of a full tile's row.
const WIDTH: usize = 2;
/// The most pairs that are summed before the sums go to memory: a panel of each operand fits into a first-level cache.
const DEPTH: usize = 256;
/// Pairs from a packed row of a to the next: a number that the compiler knows, and no power of two, which would put
/// the rows of a panel into the same few places of the cache.
const STRIDE: usize = DEPTH + LINE;
/// The most panels of a that are packed at a time, for the second-level cache.
const PANELS: usize = 36;

/// Memory for packed operands, kept by each thread.
#[derive(Default)]
struct Workspace {
    a: Buffer,
    b: Buffer,
}

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Whether this machine has every instruction used here.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// `super::multiply` for operands whose shapes have been checked, none of them empty.
///
/// # Panics
/// If the machine lacks the instructions.
pub(super) fn multiply(dst: &mut [f32], dst_stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(supported(), "a product by AVX-512 bf16 on a machine without it");
    WORKSPACE.with_borrow_mut(|workspace| {
        // SAFETY: the machine has the instructions that the function is compiled for, as was just seen.
        unsafe { blocks(workspace, dst, dst_stride, accumulate, a, b.t()) }
    });
}

/// Rounds as many numbers as both slices have.
///
/// # Panics
/// If the machine lacks the instructions.
#[cfg(feature = "onednn")]
pub(super) fn narrow(from: &[f32], to: &mut [u16]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn narrow(from: &[f32], to: &mut [u16]) {
        for (from, to) in from.chunks(2 * LINE).zip(to.chunks_mut(2 * LINE)) {
            let (low, high) = (self::from(from, 0), self::from(from, LINE));
            let mask = u32::MAX >> (2 * LINE - from.len().min(to.len()));
            // SAFETY: the mask admits lanes below both lengths, which are 1 to 32; memory of others is not accessed.
            unsafe { _mm512_mask_storeu_epi16(to.as_mut_ptr().cast(), mask, bits(_mm512_cvtne2ps_pbh(high, low))) }
        }
    }
    assert!(supported(), "AVX-512 bf16 on a machine without it");
    // SAFETY: the machine has the instructions, as was just seen.
    unsafe { narrow(from, to) }
}

/// dst (+)= a · bᵀ, block by block of k and then of a's rows. Each sum's order of additions depends on k alone.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn blocks(space: &mut Workspace, dst: &mut [f32], stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    // Panels of equal height: 15 rows are 8 + 7, not 14 + 1.
    let height = a.rows.div_ceil(a.rows.div_ceil(ROWS));
    let depth = a.cols.div_ceil(a.cols.div_ceil(2 * DEPTH)).next_multiple_of(2 * LINE);
    for k in (0..a.cols).step_by(depth) {
        let ks = depth.min(a.cols - k);
        for first in (0..a.rows).step_by(PANELS * height) {
            let rows = (PANELS * height).min(a.rows - first);
            let packed = Packed::new(&mut space.a, a.part(first, rows, k, ks), height);
            for col in (0..b.rows).step_by(WIDTH * LINE) {
                let cols = (WIDTH * LINE).min(b.rows - col);
                let lines = cols.div_ceil(LINE);
                let panel = room(&mut space.b, lines * ks.div_ceil(2));
                pack_lanes(panel, lines, b.part(col, cols, k, ks));
                let dst = &mut dst[first * stride + col..];
                let out = Out { dst, stride, rows, cols, add: accumulate || k > 0 };
                match lines {
                    1 => packed.times::<1>(panel, out),
                    _ => packed.times::<WIDTH>(panel, out),
                }
            }
        }
    }
}

/// `lines` lines of a buffer, whatever they hold.
fn room(buffer: &mut Buffer, lines: usize) -> &mut [[u32; LINE]] {
    cast_slice_mut(buffer.resize(lines * LINE)).as_chunks_mut().0
}

/// Rounds numbers to bf16 and writes them as pairs; an odd one's other half is 0.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_row(out: &mut [[u32; LINE]], row: &[f32]) {
    for (line, numbers) in out.iter_mut().zip(row.chunks(2 * LINE)) {
        store_line(line, bits(_mm512_cvtne2ps_pbh(from(numbers, LINE), from(numbers, 0))));
    }
}

/// Rounds the view to bf16 and writes the pair of its columns `2 * pair` and `2 * pair + 1` as `lines` lines of rows,
/// from line `pair * lines` on. Lanes beyond the last row are filled with anything, a column beyond the last with 0.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_lanes(out: &mut [[u32; LINE]], lines: usize, view: Matrix<'_>) {
    if view.row_stride == 1 {
        let weave = weave();
        for (pair, out) in out.chunks_exact_mut(lines).enumerate() {
            let (even, odd) = two_columns(view, pair);
            for (line, out) in out.iter_mut().enumerate() {
                store_line(out, woven(weave, from(even, line * LINE), from(odd, line * LINE)));
            }
        }
        return;
    }
    for line in 0..lines {
        for (chunk, out) in out.chunks_mut(LINE * lines).enumerate() {
            let mut square = [_mm512_setzero_si512(); LINE];
            for lane in 0..LINE {
                let row = view.row((line * LINE + lane).min(view.rows - 1));
                let (low, high) = (from(row, 2 * LINE * chunk), from(row, 2 * LINE * chunk + LINE));
                square[lane] = bits(_mm512_cvtne2ps_pbh(high, low));
            }
            let square = transpose::<8>(transpose::<4>(transpose::<2>(transpose::<1>(square))));
            for (out, &pairs) in out.chunks_exact_mut(lines).zip(&square) {
                store_line(&mut out[line], pairs);
            }
        }
    }
}

/// The columns `2 * pair` and `2 * pair + 1` of a view whose rows are neighbours; the latter is empty beyond the last.
fn two_columns(view: Matrix<'_>, pair: usize) -> (&[f32], &[f32]) {
    (view.column(2 * pair), if 2 * pair + 1 < view.cols { view.column(2 * pair + 1) } else { &[] })
}

/// One of the four steps that transpose 16 × 16 pairs: within every square of 2·SIZE × 2·SIZE, the SIZE × SIZE upper
/// right exchanges its place with the lower left.
#[target_feature(enable = "avx512f")]
pub(in crate::model::engine) fn transpose<const SIZE: usize>(square: [__m512i; LINE]) -> [__m512i; LINE] {
    let lanes = lanes();
    let right = _mm512_test_epi32_mask(lanes, _mm512_set1_epi32(SIZE as i32));
    // Where a lane comes from, as an index into the 16 of an upper and the 16 of a lower row.
    let upper = _mm512_mask_add_epi32(lanes, right, lanes, _mm512_set1_epi32((LINE - SIZE) as i32));
    let lower = _mm512_add_epi32(upper, _mm512_set1_epi32(SIZE as i32));
    let mut result = square;
    for row in 0..LINE {
        let from = if row & SIZE == 0 { upper } else { lower };
        result[row] = _mm512_permutex2var_epi32(square[row & !SIZE], from, square[row | SIZE]);
    }
    result
}

/// 0, 1, … 15.
#[target_feature(enable = "avx512f")]
fn lanes() -> __m512i {
    _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
}

/// The permutation that makes pairs of 16 bf16 in the lower and 16 in the upper half of a register.
#[target_feature(enable = "avx512f")]
fn weave() -> __m512i {
    _mm512_or_si512(lanes(), _mm512_slli_epi32::<16>(_mm512_add_epi32(lanes(), _mm512_set1_epi32(LINE as i32))))
}

/// Pairs of 16 numbers of an even k and 16 of the k after it, rounded.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn woven(weave: __m512i, even: __m512, odd: __m512) -> __m512i {
    _mm512_permutexvar_epi16(weave, bits(_mm512_cvtne2ps_pbh(odd, even)))
}

/// A block of a, in panels of `height` rows.
struct Packed<'a> {
    pairs: &'a [[u32; LINE]],
    height: usize,
    /// Lines of a panel.
    each: usize,
    /// Whether a line belongs to one row, and a row's pairs stand [`STRIDE`] apart from the next row's; or to one pair
    /// of k and all rows of the panel.
    by_rows: bool,
}

impl<'a> Packed<'a> {
    /// Rounds and packs the view in the order in which it lies in memory.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn new(buffer: &'a mut Buffer, view: Matrix<'_>, height: usize) -> Self {
        let (panels, by_rows) = (view.rows.div_ceil(height), view.col_stride == 1);
        let each = if by_rows { height * STRIDE / LINE } else { view.cols.div_ceil(2) };
        let pairs = room(buffer, panels * each);
        if by_rows {
            for (row, out) in pairs.chunks_exact_mut(STRIDE / LINE).take(view.rows).enumerate() {
                pack_row(out, view.row(row));
            }
        } else {
            let weave = weave();
            for pair in 0..each {
                let (even, odd) = two_columns(view, pair);
                for panel in 0..panels {
                    let (even, odd) = (from(even, panel * height), from(odd, panel * height));
                    store_line(&mut pairs[panel * each + pair], woven(weave, even, odd));
                }
            }
        }
        Packed { pairs, height, each, by_rows }
    }

    /// The products with a panel of N lines of columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn times<const N: usize>(&self, b: &[[u32; LINE]], mut out: Out<'_>) {
        for (panel, a) in self.pairs.chunks_exact(self.each).enumerate() {
            let out = out.rows_from(panel * self.height, self.height);
            match self.height {
                1 => self.tile::<1, N>(a, b, out),
                2 => self.tile::<2, N>(a, b, out),
                3 => self.tile::<3, N>(a, b, out),
                4 => self.tile::<4, N>(a, b, out),
                5 => self.tile::<5, N>(a, b, out),
                6 => self.tile::<6, N>(a, b, out),
                7 => self.tile::<7, N>(a, b, out),
                8 => self.tile::<8, N>(a, b, out),
                9 => self.tile::<9, N>(a, b, out),
                10 => self.tile::<10, N>(a, b, out),
                11 => self.tile::<11, N>(a, b, out),
                12 => self.tile::<12, N>(a, b, out),
                13 => self.tile::<13, N>(a, b, out),
                14 => self.tile::<14, N>(a, b, out),
                _ => unreachable!("a panel is higher than {ROWS}"),
            }
        }
    }

    /// The sums of M rows and N lines of columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tile<const M: usize, const N: usize>(&self, a: &[[u32; LINE]], b: &[[u32; LINE]], out: Out<'_>) {
        out.prefetch();
        let (b, _) = b.as_chunks::<N>();
        let sums = if self.by_rows {
            let (rows, _) = a.as_flattened().as_chunks::<STRIDE>();
            match rows.first_chunk::<M>() {
                // Of a length that is seen to be within a row.
                Some(rows) => sums(&b[..b.len().min(STRIDE)], |k, m| rows[m][k]),
                None => unreachable!("a panel has fewer rows than its height"),
            }
        } else {
            sums::<M, N>(&b[..b.len().min(a.len())], |k, m| a[k][m])
        };
        out.put(sums);
    }
}

/// Σ over k of the products of the pairs `a(k, m)` and the lines b, all in registers.
#[target_feature(enable = "avx512f,avx512bf16")]
fn sums<const M: usize, const N: usize>(b: &[[[u32; LINE]; N]], a: impl Fn(usize, usize) -> u32) -> [[__m512; N]; M] {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    for (k, b) in b.iter().enumerate() {
        let mut columns = [pairs(_mm512_setzero_si512()); N];
        for n in 0..N {
            columns[n] = load_line(&b[n]);
        }
        for m in 0..M {
            let row = pairs(_mm512_set1_epi32(a(k, m) as i32));
            for n in 0..N {
                sums[m][n] = _mm512_dpbf16_ps(sums[m][n], row, columns[n]);
            }
        }
    }
    sums
}

/// Where sums go.
pub(in crate::model::engine) struct Out<'a> {
    /// The product from the first element on.
    pub(in crate::model::engine) dst: &'a mut [f32],
    /// From a row to the next.
    pub(in crate::model::engine) stride: usize,
    /// Rows that count.
    pub(in crate::model::engine) rows: usize,
    /// Columns that count.
    pub(in crate::model::engine) cols: usize,
    /// Whether the sums are added to what is there.
    pub(in crate::model::engine) add: bool,
}

impl Out<'_> {
    /// At most `rows` rows from `first` on.
    pub(in crate::model::engine) fn rows_from(&mut self, first: usize, rows: usize) -> Out<'_> {
        let (stride, cols, add) = (self.stride, self.cols, self.add);
        Out { dst: &mut self.dst[first * stride..], stride, rows: rows.min(self.rows - first), cols, add }
    }

    /// Asks for the memory while the sums are made.
    #[target_feature(enable = "avx512f")]
    pub(in crate::model::engine) fn prefetch(&self) {
        for row in 0..self.rows {
            let first = row * self.stride;
            for place in [first, first + self.cols - 1] {
                _mm_prefetch::<_MM_HINT_ET0>(self.dst[place..].as_ptr().cast());
            }
        }
    }

    /// Writes the sums of M rows and N lines, or as many of them as count.
    #[target_feature(enable = "avx512f")]
    pub(in crate::model::engine) fn put<const M: usize, const N: usize>(self, sums: [[__m512; N]; M]) {
        for m in 0..M {
            if m < self.rows {
                let row = &mut self.dst[m * self.stride..][..self.cols];
                for n in 0..N {
                    let part = &mut row[n * LINE..];
                    let before = if self.add { load(part) } else { _mm512_setzero_ps() };
                    store(part, _mm512_add_ps(before, sums[m][n]));
                }
            }
        }
    }
}

/// A mask of the lanes that `len` numbers fill.
#[target_feature(enable = "avx512f")]
fn mask(len: usize) -> __mmask16 {
    ((1_u32 << len.min(LINE)) - 1) as __mmask16
}

/// The first numbers of a slice, as many as there are and fit; the others 0.
#[target_feature(enable = "avx512f")]
pub(in crate::model::engine) fn load(from: &[f32]) -> __m512 {
    // SAFETY: the mask admits lanes below the slice's length only, and memory of other lanes is not accessed.
    unsafe { _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr()) }
}

/// Writes as many of the numbers as fit.
#[target_feature(enable = "avx512f")]
pub(in crate::model::engine) fn store(to: &mut [f32], value: __m512) {
    // SAFETY: as in `load`; the slice is exclusively ours.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), value) }
}

/// 16 numbers from `start` on, as many as there are; the others 0.
#[target_feature(enable = "avx512f")]
fn from(numbers: &[f32], start: usize) -> __m512 {
    let rest = numbers.get(start..).unwrap_or(&[]);
    // Of a known length, so that no mask is needed.
    rest.first_chunk::<LINE>().map_or_else(|| load(rest), |whole| load(whole))
}

#[target_feature(enable = "avx512f")]
fn store_line(to: &mut [u32; LINE], value: __m512i) {
    // SAFETY: the array has a register's 64 bytes, any address will do, and it is exclusively ours.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx512f")]
fn load_line(from: &[u32; LINE]) -> __m512bh {
    // SAFETY: the array has a register's 64 bytes, and any address will do.
    pairs(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
}

/// The register's bits as bf16.
#[target_feature(enable = "avx512f")]
fn pairs(value: __m512i) -> __m512bh {
    // SAFETY: both types are 64 plain bytes.
    unsafe { std::mem::transmute(value) }
}

/// The register's bits as integers.
#[target_feature(enable = "avx512f")]
fn bits(value: __m512bh) -> __m512i {
    // SAFETY: both types are 64 plain bytes.
    unsafe { std::mem::transmute(value) }
}
