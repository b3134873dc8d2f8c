//! Messages between far atoms. Beyond the filters' cutoff the radial functions vanish: attention is 0, and the
//! filters are the constants c = silu(bias). The sum over a molecule's far edges,
//!
//! W_i = Σ_j V_j v1_j c1 + u_ij v2_j c2 (+ (u_ij × V_j) v3_j c3),
//!
//! is then a product of a matrix over pairs of atoms, [S | U] per axis, with a stack of rows over its sources: no
//! array over edges and channels.

use pulp::{Simd, WithSimd};

use super::plan::{FarBlock, Plan};
use super::records::{self, Part};
use crate::model::engine::{Buffer, LANES, Matrix, Products, Row, RowMut, Store, dispatch};

/// The constants of a layer: silu of the biases of [dv1 | dv2 (| dv3)], (parts − 1)·H.
#[derive(Clone, Copy)]
pub(super) struct Constants<'a> {
    /// The numbers.
    pub(super) numbers: &'a [f32],
    /// H.
    pub(super) hidden: usize,
    /// Blocks in a stack: 2, or 4 with cross products.
    pub(super) terms: usize,
}

/// Adds all far messages to `vectors`, (3, N, H).
pub(super) fn send(
    plan: &Plan,
    constants: Constants<'_>,
    sent: &[f32],
    products: Products,
    stack: &mut Buffer,
    vectors: &mut [f32],
) {
    let h = constants.hidden;
    for block in &plan.far {
        let columns = constants.terms * block.sources;
        for axis in 0..3 {
            dispatch(Stack { block, constants, sent, axis, stack: stack.resize(columns * h) });
            let matrix = Matrix::new(&plan.far_matrices[block.matrices[axis].clone()], columns);
            let first = (axis * plan.len() + block.atoms.start) * h;
            products.multiply(&mut vectors[first..], h, Store::Add, matrix, Matrix::new(stack, h));
        }
    }
}

struct Stack<'a> {
    block: &'a FarBlock,
    constants: Constants<'a>,
    sent: &'a [f32],
    axis: usize,
    stack: &'a mut [f32],
}

impl WithSimd for Stack<'_> {
    type Output = ();

    /// [V_a v1 c1; v2 c2 (; V_c v3 c3; V_b v3 c3)] with the axes a, b, c in cyclic order.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Stack { block, constants, sent, axis, stack } = self;
        let (h, m) = (constants.hidden, block.sources);
        let (parts, vectors) = (records::sent(constants.terms == 4), LANES / S::F32_LANES);
        for (term, (part, constant)) in terms(axis).into_iter().take(constants.terms).enumerate() {
            let values = Part { records: sent, stride: parts * h, hidden: h, parts, part };
            let constant = Row::new(simd, &constants.numbers[constant * h..], h);
            for source in 0..m {
                let mut row = RowMut::new(simd, &mut stack[(term * m + source) * h..], h);
                for (i, group) in values.groups(block.atoms.start + source).enumerate() {
                    for v in 0..vectors {
                        let k = i * vectors + v;
                        row.set(k, values.at(simd, group, v) * constant.at(k));
                    }
                }
            }
        }
    }
}

/// The parts of what is sent that make a stack's terms, each with the number of the constant that it is multiplied by.
#[inline(always)]
fn terms(axis: usize) -> [(usize, usize); 4] {
    let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
    [(2 + axis, 0), (1, 1), (5 + last, 2), (5 + next, 2)]
}

/// The way back through [`send`].
pub(super) struct Back<'a> {
    pub(super) plan: &'a Plan,
    pub(super) constants: Constants<'a>,
    /// What the atoms send, records.
    pub(super) sent: &'a [f32],
    pub(super) products: Products,
}

impl Back<'_> {
    /// Adds to the gradients at what the atoms send and at the constants, given that at the vector sums.
    pub(super) fn run(&self, stack: &mut Buffer, at_vectors: &[f32], at_sent: &mut [f32], at_constants: &mut [f32]) {
        let Back { plan, constants, sent, products } = *self;
        let h = constants.hidden;
        for block in &plan.far {
            let columns = constants.terms * block.sources;
            for axis in 0..3 {
                let matrix = Matrix::new(&plan.far_matrices[block.matrices[axis].clone()], columns);
                let first = (axis * plan.len() + block.atoms.start) * h;
                let at_sums = Matrix::new(&at_vectors[first..first + block.atoms.len() * h], h);
                products.multiply(stack.resize(columns * h), h, Store::Replace, matrix.t(), at_sums);
                dispatch(StackBack { block, constants, sent, axis, stack, at_sent, at_constants });
            }
        }
    }
}

struct StackBack<'a> {
    block: &'a FarBlock,
    constants: Constants<'a>,
    sent: &'a [f32],
    axis: usize,
    stack: &'a [f32],
    at_sent: &'a mut [f32],
    at_constants: &'a mut [f32],
}

impl WithSimd for StackBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let StackBack { block, constants, sent, axis, stack, at_sent, at_constants } = self;
        let (h, m) = (constants.hidden, block.sources);
        let (parts, vectors) = (records::sent(constants.terms == 4), LANES / S::F32_LANES);
        for (term, (part, index)) in terms(axis).into_iter().take(constants.terms).enumerate() {
            let values = Part { records: sent, stride: parts * h, hidden: h, parts, part };
            let constant = Row::new(simd, &constants.numbers[index * h..], h);
            let mut at_constant = RowMut::new(simd, &mut at_constants[index * h..], h);
            for source in 0..m {
                let n = block.atoms.start + source;
                let gradient = Row::new(simd, &stack[(term * m + source) * h..], h);
                let at_values = at_sent[n * parts * h..].chunks_exact_mut(parts * LANES);
                for (i, (group, at_group)) in values.groups(n).zip(at_values).enumerate() {
                    for v in 0..vectors {
                        let k = i * vectors + v;
                        let at_value = records::get(simd, at_group, part, v);
                        let sum = gradient.at(k).times_plus(constant.at(k), at_value);
                        records::set(simd, at_group, part, v, sum);
                        let value = values.at(simd, group, v);
                        at_constant.set(k, gradient.at(k).times_plus(value, at_constant.at(k)));
                    }
                }
            }
        }
    }
}
