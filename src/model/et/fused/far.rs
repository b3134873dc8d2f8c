//! Messages between far atoms. Beyond the filters' cutoff the radial functions vanish: attention is 0, and the
//! filters are the constants c = silu(bias). The sum over a molecule's far edges,
//!
//! W_i = Σ_j V_j v1_j c1 + u_ij v2_j c2 (+ (u_ij × V_j) v3_j c3),
//!
//! is then a product of a matrix over pairs of atoms, [S | U] per axis, with a stack of rows over its sources: no
//! array over edges and channels.

use pulp::{Simd, WithSimd};

use super::messages::{Nodes, NodesMut};
use super::plan::{FarBlock, Plan};
use crate::model::engine::{Buffer, Matrix, Products, Row, RowMut, Store, dispatch};

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
    nodes: Nodes<'_>,
    products: Products,
    stack: &mut Buffer,
    vectors: &mut [f32],
) {
    let h = constants.hidden;
    for block in &plan.far {
        let columns = constants.terms * block.sources;
        for axis in 0..3 {
            dispatch(Stack { block, constants, nodes, axis, stack: stack.resize(columns * h) });
            let matrix = Matrix::new(&plan.far_matrices[block.matrices[axis].clone()], columns);
            let first = (axis * plan.len() + block.atoms.start) * h;
            products.multiply(&mut vectors[first..], h, Store::Add, matrix, Matrix::new(stack, h));
        }
    }
}

struct Stack<'a> {
    block: &'a FarBlock,
    constants: Constants<'a>,
    nodes: Nodes<'a>,
    axis: usize,
    stack: &'a mut [f32],
}

impl WithSimd for Stack<'_> {
    type Output = ();

    /// [V_a v1 c1; v2 c2 (; V_c v3 c3; V_b v3 c3)] with the axes a, b, c in cyclic order.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Stack { block, constants, nodes, axis, stack } = self;
        let (h, m) = (constants.hidden, block.sources);
        for (term, (values, constant)) in terms(nodes, axis).into_iter().take(constants.terms).enumerate() {
            let constant = Row::new(simd, &constants.numbers[constant * h..], h);
            for source in 0..m {
                let value = Row::new(simd, &values[(block.atoms.start + source) * h..], h);
                let mut row = RowMut::new(simd, &mut stack[(term * m + source) * h..], h);
                for k in 0..value.len() {
                    row.set(k, value.at(k) * constant.at(k));
                }
            }
        }
    }
}

/// The values of a stack's terms, each with the number of the constant that it is multiplied by.
#[inline(always)]
fn terms(nodes: Nodes<'_>, axis: usize) -> [(&[f32], usize); 4] {
    let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
    [(nodes.scaled[axis], 0), (nodes.v2, 1), (nodes.turned[last], 2), (nodes.turned[next], 2)]
}

/// The way back through [`send`].
pub(super) struct Back<'a> {
    pub(super) plan: &'a Plan,
    pub(super) constants: Constants<'a>,
    pub(super) nodes: Nodes<'a>,
    pub(super) products: Products,
}

impl Back<'_> {
    /// Adds to the gradients at the atoms and at the constants, given that at the vector sums.
    pub(super) fn run(
        &self,
        stack: &mut Buffer,
        at_vectors: &[f32],
        at_nodes: &mut NodesMut<'_>,
        at_constants: &mut [f32],
    ) {
        let Back { plan, constants, nodes, products } = *self;
        let h = constants.hidden;
        for block in &plan.far {
            let columns = constants.terms * block.sources;
            for axis in 0..3 {
                let matrix = Matrix::new(&plan.far_matrices[block.matrices[axis].clone()], columns);
                let first = (axis * plan.len() + block.atoms.start) * h;
                let at_sums = Matrix::new(&at_vectors[first..first + block.atoms.len() * h], h);
                products.multiply(stack.resize(columns * h), h, Store::Replace, matrix.t(), at_sums);
                dispatch(StackBack { block, constants, nodes, axis, stack, at_nodes, at_constants });
            }
        }
    }
}

struct StackBack<'a, 'b> {
    block: &'a FarBlock,
    constants: Constants<'a>,
    nodes: Nodes<'a>,
    axis: usize,
    stack: &'a [f32],
    at_nodes: &'a mut NodesMut<'b>,
    at_constants: &'a mut [f32],
}

impl WithSimd for StackBack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let StackBack { block, constants, nodes, axis, stack, at_nodes, at_constants } = self;
        let (h, m) = (constants.hidden, block.sources);
        let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
        for (term, (values, index)) in terms(nodes, axis).into_iter().take(constants.terms).enumerate() {
            let at_values: &mut [f32] = match term {
                0 => at_nodes.scaled[axis],
                1 => at_nodes.v2,
                2 => at_nodes.turned[last],
                _ => at_nodes.turned[next],
            };
            let constant = Row::new(simd, &constants.numbers[index * h..], h);
            let mut at_constant = RowMut::new(simd, &mut at_constants[index * h..], h);
            for source in 0..m {
                let at = (block.atoms.start + source) * h;
                let gradient = Row::new(simd, &stack[(term * m + source) * h..], h);
                let value = Row::new(simd, &values[at..], h);
                let mut at_value = RowMut::new(simd, &mut at_values[at..], h);
                for k in 0..value.len() {
                    at_value.set(k, gradient.at(k).times_plus(constant.at(k), at_value.at(k)));
                    at_constant.set(k, gradient.at(k).times_plus(value.at(k), at_constant.at(k)));
                }
            }
        }
    }
}
