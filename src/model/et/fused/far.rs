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
        let constant = |p: usize| &constants.numbers[p * h..][..h];
        let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
        for source in 0..m {
            let at = (block.atoms.start + source) * h;
            let (v1, v2) = (&nodes.v1[at..][..h], &nodes.v2[at..][..h]);
            fill(simd, &mut stack[source * h..][..h], v1, constant(0), Some(&nodes.vec[axis][at..]));
            fill(simd, &mut stack[(m + source) * h..][..h], v2, constant(1), None);
            if constants.terms == 4 {
                let v3 = &nodes.v3[at..][..h];
                fill(simd, &mut stack[(2 * m + source) * h..][..h], v3, constant(2), Some(&nodes.vec[last][at..]));
                fill(simd, &mut stack[(3 * m + source) * h..][..h], v3, constant(2), Some(&nodes.vec[next][at..]));
            }
        }
    }
}

/// row ← value · constant (· vec).
#[inline(always)]
fn fill<S: Simd>(simd: S, row: &mut [f32], value: &[f32], constant: &[f32], vec: Option<&[f32]>) {
    let h = row.len();
    let (value, constant) = (Row::new(simd, value, h), Row::new(simd, constant, h));
    let mut row = RowMut::new(simd, row, h);
    match vec.map(|vec| Row::new(simd, vec, h)) {
        Some(vec) => {
            for k in 0..value.len() {
                row.set(k, value.at(k) * constant.at(k) * vec.at(k));
            }
        }
        None => {
            for k in 0..value.len() {
                row.set(k, value.at(k) * constant.at(k));
            }
        }
    }
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
        let NodesMut { v1: at_v1, v2: at_v2, v3: at_v3, vec: at_vec, .. } = at_nodes;
        for source in 0..m {
            let at = (block.atoms.start + source) * h;
            let row = |term: usize| &stack[(term * m + source) * h..][..h];
            let value = |p: usize| Value {
                value: &[nodes.v1, nodes.v2, nodes.v3][p][at..][..h],
                constant: &constants.numbers[p * h..][..h],
            };
            let (at_1, rest) = at_constants.split_at_mut(h);
            let (at_2, at_3) = rest.split_at_mut(h);
            let vector = Some((&nodes.vec[axis][at..], &mut at_vec[axis][at..]));
            fill_back(simd, row(0), value(0), (&mut at_v1[at..], at_1), vector);
            fill_back(simd, row(1), value(1), (&mut at_v2[at..], at_2), None);
            if constants.terms == 4 {
                for (term, axis) in [(2, last), (3, next)] {
                    let vector = Some((&nodes.vec[axis][at..], &mut at_vec[axis][at..]));
                    fill_back(simd, row(term), value(2), (&mut at_v3[at..], at_3), vector);
                }
            }
        }
    }
}

/// The first two factors of a row of the stack.
struct Value<'a> {
    value: &'a [f32],
    constant: &'a [f32],
}

/// Back through [`fill`]: adds to the gradients at value and constant, and at vec.
#[inline(always)]
fn fill_back<S: Simd>(
    simd: S,
    gradient: &[f32],
    factors: Value<'_>,
    (at_value, at_constant): (&mut [f32], &mut [f32]),
    vec: Option<(&[f32], &mut [f32])>,
) {
    let h = gradient.len();
    let (gradient, value) = (Row::new(simd, gradient, h), Row::new(simd, factors.value, h));
    let constant = Row::new(simd, factors.constant, h);
    let (mut at_value, mut at_constant) = (RowMut::new(simd, at_value, h), RowMut::new(simd, at_constant, h));
    match vec {
        Some((vec, at_vec)) => {
            let (vec, mut at_vec) = (Row::new(simd, vec, h), RowMut::new(simd, at_vec, h));
            for k in 0..value.len() {
                let g = gradient.at(k);
                let along = g * vec.at(k);
                at_vec.set(k, (g * value.at(k)).times_plus(constant.at(k), at_vec.at(k)));
                at_value.set(k, along.times_plus(constant.at(k), at_value.at(k)));
                at_constant.set(k, along.times_plus(value.at(k), at_constant.at(k)));
            }
        }
        None => {
            for k in 0..value.len() {
                let g = gradient.at(k);
                at_value.set(k, g.times_plus(constant.at(k), at_value.at(k)));
                at_constant.set(k, g.times_plus(value.at(k), at_constant.at(k)));
            }
        }
    }
}
