//! The product by AVX-512's bf16 instructions: operands are packed as pairs of neighbouring k, one `vdpbf16ps` adds
//! the products of 16 pairs to 16 sums.
//!
//! Legend: a *pair* is a `u32` that holds the bf16 of an even k (low half) and of the k after it (high half); a *line*
//! is 16 pairs of the same two k, of 16 *lanes*, which are rows of a or columns of b.

use core::arch::x86_64::*;
use std::cell::RefCell;

use super::Matrix;

/// Lanes of a line.
pub(in crate::model::engine) const LINE: usize = 16;
/// The most rows of a tile of sums: 14 × 2 registers of them leave 4 of the 32 for operands.
const ROWS: usize = 14;
/// Registers of a full tile's row.
const WIDTH: usize = 2;
/// The most k that are summed before the sums go to memory: a panel of each operand fits into a first-level cache.
const DEPTH: usize = 512;
/// The most panels of a that are packed at a time, for the second-level cache.
const PANELS: usize = 36;

/// Memory for packed operands, kept by each thread.
#[derive(Default)]
struct Workspace {
    a: Vec<u32>,
    b: Vec<u32>,
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
            let (low, high) = load_two(from);
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
    let depth = a.cols.div_ceil(a.cols.div_ceil(DEPTH)).next_multiple_of(2 * LINE);
    let lines = b.rows.div_ceil(LINE);
    for k in (0..a.cols).step_by(depth) {
        let ks = depth.min(a.cols - k);
        let pairs = ks.div_ceil(2);
        let columns = room(&mut space.b, lines * LINE * pairs);
        pack(columns, b.part(0, b.rows, k, ks), LINE, |line| {
            let panel = line / WIDTH * WIDTH;
            let step = (lines - panel).min(WIDTH) * LINE;
            (panel * LINE * pairs + (line - panel) * LINE, step)
        });
        for first in (0..a.rows).step_by(PANELS * height) {
            let rows = (PANELS * height).min(a.rows - first);
            let packed = room(&mut space.a, rows.div_ceil(height) * height * pairs);
            pack(packed, a.part(first, rows, k, ks), height, |panel| (panel * height * pairs, height));
            let block = Block { a: packed, b: columns, height, pairs, cols: b.rows, add: accumulate || k > 0 };
            block.sums(&mut dst[first * stride..], stride, rows);
        }
    }
}

/// The first `len` places of the buffer that begin at a cache line, whatever they hold.
fn room(buffer: &mut Vec<u32>, len: usize) -> &mut [u32] {
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0);
    }
    let skip = buffer.as_ptr().align_offset(size_of::<[u32; LINE]>()).min(LINE);
    &mut buffer[skip..skip + len]
}

/// Rounds the view to bf16 and writes it as lines of `height` rows (16 at most): the line of rows `i * height..` and of
/// the columns `2 * pair` and `2 * pair + 1` goes to `offset + pair * step` where `place(i)` is (offset, step). Rows
/// beyond the view's last are filled with anything, a column beyond its last with 0.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack(out: &mut [u32], view: Matrix<'_>, height: usize, place: impl Fn(usize) -> (usize, usize)) {
    if view.row_stride == 1 {
        let weave = weave();
        for pair in 0..view.cols.div_ceil(2) {
            // An odd number of columns ends with a pair whose other half is 0.
            let (odd, keep) = if 2 * pair + 1 < view.cols { (2 * pair + 1, -1) } else { (2 * pair, 0xffff) };
            let rows = view.column(2 * pair).chunks(height).zip(view.column(odd).chunks(height));
            for (line, (even, odd)) in rows.enumerate() {
                let pairs = _mm512_permutexvar_epi16(weave, bits(_mm512_cvtne2ps_pbh(load(odd), load(even))));
                let (offset, step) = place(line);
                let to = &mut out[offset + pair * step..][..height];
                store_pairs(to, _mm512_and_si512(pairs, _mm512_set1_epi32(keep)));
            }
        }
    } else {
        for line in 0..view.rows.div_ceil(height) {
            let (offset, step) = place(line);
            for chunk in (0..view.cols).step_by(2 * LINE) {
                let cols = (view.cols - chunk).min(2 * LINE);
                let mut square = [_mm512_setzero_si512(); LINE];
                for lane in 0..LINE {
                    let row = (line * height + lane).min(view.rows - 1);
                    let (low, high) = load_two(&view.row(row)[chunk..][..cols]);
                    square[lane] = bits(_mm512_cvtne2ps_pbh(high, low));
                }
                let square = transpose::<8>(transpose::<4>(transpose::<2>(transpose::<1>(square))));
                for pair in 0..LINE {
                    if 2 * pair < cols {
                        let at = offset + (chunk / 2 + pair) * step;
                        store_pairs(&mut out[at..][..height], square[pair]);
                    }
                }
            }
        }
    }
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

/// Packed operands of one block.
struct Block<'a> {
    /// Panels of `height` rows, pair by pair.
    a: &'a [u32],
    /// Panels of `WIDTH` lines (the last may be narrower), pair by pair.
    b: &'a [u32],
    height: usize,
    pairs: usize,
    /// The product's columns.
    cols: usize,
    /// Whether the products are added to what is there.
    add: bool,
}

impl Block<'_> {
    /// The block's sums to its `rows` rows of the product.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn sums(&self, dst: &mut [f32], stride: usize, rows: usize) {
        for (panel, b) in self.b.chunks(WIDTH * LINE * self.pairs).enumerate() {
            let first = panel * WIDTH * LINE;
            let cols = (WIDTH * LINE).min(self.cols - first);
            for (a, row) in self.a.chunks_exact(self.height * self.pairs).zip((0..rows).step_by(self.height)) {
                let out = Out {
                    dst: &mut dst[row * stride + first..],
                    stride,
                    rows: self.height.min(rows - row),
                    cols,
                    add: self.add,
                };
                match b.len() / (LINE * self.pairs) {
                    1 => self.tile_of_height::<1>(a, b, out),
                    _ => self.tile_of_height::<WIDTH>(a, b, out),
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tile_of_height<const N: usize>(&self, a: &[u32], b: &[u32], out: Out<'_>) {
        match self.height {
            1 => tile::<1, N>(a, b, out),
            2 => tile::<2, N>(a, b, out),
            3 => tile::<3, N>(a, b, out),
            4 => tile::<4, N>(a, b, out),
            5 => tile::<5, N>(a, b, out),
            6 => tile::<6, N>(a, b, out),
            7 => tile::<7, N>(a, b, out),
            8 => tile::<8, N>(a, b, out),
            9 => tile::<9, N>(a, b, out),
            10 => tile::<10, N>(a, b, out),
            11 => tile::<11, N>(a, b, out),
            12 => tile::<12, N>(a, b, out),
            13 => tile::<13, N>(a, b, out),
            14 => tile::<14, N>(a, b, out),
            _ => unreachable!("a panel is higher than {ROWS}"),
        }
    }
}

/// Where a tile's sums go.
struct Out<'a> {
    /// The product from the tile's first element on.
    dst: &'a mut [f32],
    stride: usize,
    rows: usize,
    cols: usize,
    add: bool,
}

/// The sums of M rows and N lines of columns, all in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn tile<const M: usize, const N: usize>(a: &[u32], b: &[u32], out: Out<'_>) {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let (a, _) = a.as_chunks::<M>();
    let (lines, _) = b.as_chunks::<LINE>();
    let (b, _) = lines.as_chunks::<N>();
    for (a, b) in a.iter().zip(b) {
        let mut columns = [pairs(_mm512_setzero_si512()); N];
        for n in 0..N {
            columns[n] = load_pairs(&b[n]);
        }
        for m in 0..M {
            let row = pairs(_mm512_set1_epi32(a[m] as i32));
            for n in 0..N {
                sums[m][n] = _mm512_dpbf16_ps(sums[m][n], row, columns[n]);
            }
        }
    }
    for m in 0..M {
        if m < out.rows {
            let row = &mut out.dst[m * out.stride..][..out.cols];
            for n in 0..N {
                let part = &mut row[n * LINE..];
                let before = if out.add { load(part) } else { _mm512_setzero_ps() };
                store(part, _mm512_add_ps(before, sums[m][n]));
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

/// The first 16 numbers of a slice and the 16 after them, as many as there are; the others 0.
#[target_feature(enable = "avx512f")]
fn load_two(from: &[f32]) -> (__m512, __m512) {
    let (low, high) = (mask(from.len()), mask(from.len().saturating_sub(LINE)));
    let middle = from.as_ptr().wrapping_add(LINE);
    // SAFETY: as in `load`: the second mask is empty unless the slice is longer than a line.
    unsafe { (_mm512_maskz_loadu_ps(low, from.as_ptr()), _mm512_maskz_loadu_ps(high, middle)) }
}

/// Writes as many of a line's pairs as fit.
#[target_feature(enable = "avx512f")]
fn store_pairs(to: &mut [u32], value: __m512i) {
    // SAFETY: as in `store`.
    unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), mask(to.len()), value) }
}

#[target_feature(enable = "avx512f")]
fn load_pairs(from: &[u32; LINE]) -> __m512bh {
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
