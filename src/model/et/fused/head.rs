//! After the layers: scalars and vectors become one vector per atom.

use super::context::{Context, at_bias, norm_back};
use super::state::{axes, axes_mut};
use super::tape::{BlockTape, HeadTape, Scratch, State};
use crate::model::engine::{Gradients, Matrix, Store, add_bias_silu, layer_norm, silu_back};
use crate::model::et::head::{GatedBlock, Head};

/// One vector per atom, (3, N), not centred: `tape.blocks[1].state.vec`.
pub(super) fn forward(head: &Head, context: Context<'_>, state: &State, tape: &mut HeadTape, scratch: &mut Scratch) {
    let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
    let nothing = scratch.row.zeros(h);
    tape.normal.resize(n * h).copy_from_slice(&state.x);
    layer_norm(&mut tape.normal, nothing, w.norm(&head.norm), tape.scale.resize(n), tape.x.resize(n * h));
    let [first, second] = &mut tape.blocks;
    let block = Block { block: &head.blocks[0], context, x: &tape.x, vec: &state.vec };
    block.forward(first, scratch);
    // The scalars between the blocks go through an activation; those after the last are not used.
    let scalars = head.blocks[0].widths.scalars;
    let x = first.state.x.resize(n * scalars);
    for (row, update) in x.chunks_exact_mut(scalars).zip(first.update.chunks_exact(head.blocks[0].widths.update())) {
        row.iter_mut().zip(update).for_each(|(x, &s)| *x = s / (1.0 + (-s).exp()));
    }
    Block { block: &head.blocks[1], context, x: &first.state.x, vec: &first.state.vec }.forward(second, scratch);
}

/// The head on the way back.
pub(super) struct HeadBack<'a, 'g> {
    pub(super) head: &'a Head,
    pub(super) context: Context<'a>,
    /// The state after the last layer.
    pub(super) state: &'a State,
    pub(super) tape: &'a HeadTape,
    pub(super) gradients: &'a mut Gradients<'g>,
    pub(super) scratch: &'a mut Scratch,
}

impl HeadBack<'_, '_> {
    /// From the gradient at the vectors (3, N) to that at the state after the last layer, `at`.
    pub(super) fn run(self, at_vectors: &[f32], at: &mut State) {
        let Self { head, context, state, tape, gradients, scratch } = self;
        let (n, widths, first) = (context.plan.len(), head.blocks[0].widths, &tape.blocks[0]);
        let mut between = std::mem::take(&mut scratch.between);
        between.x.resize(n * widths.scalars);
        let block = Block { block: &head.blocks[1], context, x: &first.state.x, vec: &first.state.vec };
        block.backward(&tape.blocks[1], (&[], at_vectors), &mut between, gradients, scratch);
        for (row, update) in between.x.chunks_exact_mut(widths.scalars).zip(first.update.chunks_exact(widths.update()))
        {
            for (g, &s) in row.iter_mut().zip(update) {
                let sigma = 1.0 / (1.0 + (-s).exp());
                *g *= sigma * (1.0 + s * (1.0 - sigma));
            }
        }
        let block = Block { block: &head.blocks[0], context, x: &tape.x, vec: &state.vec };
        block.backward(first, (&between.x, &between.vec), at, gradients, scratch);
        scratch.between = between;
        let (weight, store) = (context.weights.get(head.norm.weight), gradients.store);
        norm_back(&mut at.x, &tape.normal, &tape.scale, weight, gradients.norm(&head.norm), store);
    }
}

/// A gated block with its input.
struct Block<'a> {
    block: &'a GatedBlock,
    context: Context<'a>,
    /// (N, inputs).
    x: &'a [f32],
    /// (3, N, inputs).
    vec: &'a [f32],
}

impl Block<'_> {
    /// [s, gate] = update_net([x, ‖V vec1ᵀ‖]) into `tape.update`; gate · V vec2ᵀ into `tape.state.vec`.
    fn forward(&self, tape: &mut BlockTape, scratch: &mut Scratch) {
        let Self { block, context, x, vec } = *self;
        let (n, w, widths) = (context.plan.len(), context.weights, block.widths);
        let (inputs, vectors) = (widths.inputs, widths.vectors);
        context.linear(vec, w.get(block.measured.weight), inputs, &mut tape.measured);
        lengths(&tape.measured, inputs, tape.lengths.resize(n * inputs));
        context.linear(vec, w.get(block.passed.weight), vectors, &mut tape.passed);
        let weight = Matrix::new(w.get(block.update[0].weight), 2 * inputs);
        let before = tape.before.resize(n * inputs);
        let (left, right) = (weight.columns(0..inputs).t(), weight.columns(inputs..2 * inputs).t());
        context.products.multiply(before, inputs, Store::Replace, Matrix::new(x, inputs), left);
        context.products.multiply(before, inputs, Store::Add, Matrix::new(&tape.lengths, inputs), right);
        let (bias, nothing) = (w.get(block.update[0].bias), scratch.row.zeros(inputs));
        let hidden = tape.hidden.resize(n * inputs);
        match &block.norm {
            Some(norm) => {
                let normal = tape.normal.resize(n * inputs);
                normal.copy_from_slice(before);
                layer_norm(normal, bias, w.norm(norm), tape.scale.resize(n), before);
                add_bias_silu(before, nothing, hidden);
            }
            None => add_bias_silu(before, bias, hidden),
        }
        context.linear(hidden, w.get(block.update[1].weight), widths.update(), &mut tape.update);
        for row in tape.update.chunks_exact_mut(widths.update()) {
            row.iter_mut().zip(w.get(block.update[1].bias)).for_each(|(y, b)| *y += b);
        }
        let gated = tape.state.vec.resize(3 * n * vectors);
        for (row, (gated, passed)) in gated.chunks_exact_mut(vectors).zip(tape.passed.chunks_exact(vectors)).enumerate()
        {
            let gate = &tape.update[(row % n) * widths.update() + widths.scalars..][..vectors];
            for c in 0..vectors {
                gated[c] = gate[c] * passed[c];
            }
        }
    }

    /// From the gradients at the scalars (N, scalars; empty for zeros) and the gated vectors (3, N, vectors) to those
    /// at x and V, in `at`.
    fn backward(
        &self,
        tape: &BlockTape,
        (at_scalars, at_gated): (&[f32], &[f32]),
        at: &mut State,
        gradients: &mut Gradients<'_>,
        scratch: &mut Scratch,
    ) {
        let Self { block, context, x, vec } = *self;
        let (n, w, widths, store) = (context.plan.len(), context.weights, block.widths, gradients.store);
        let (inputs, vectors) = (widths.inputs, widths.vectors);
        let at_update = scratch.at_output.zeros(n * widths.update());
        let at_passed = scratch.at_projected.resize(3 * n * vectors);
        self.gates_back(tape, (at_scalars, at_gated), at_update, at_passed);

        let [first, second] = &block.update;
        context.at_weight(at_update, &tape.hidden, widths.update(), gradients.get(second.weight), store);
        row_sums(at_update, gradients.get(second.bias), store);
        let d = scratch.natural.resize(n * inputs);
        context.linear_back(at_update, w.get(second.weight), widths.update(), d, Store::Replace);
        silu_back(d, &tape.before, inputs);
        if let Some(norm) = &block.norm {
            norm_back(d, &tape.normal, &tape.scale, w.get(norm.weight), gradients.norm(norm), store);
        }
        at_bias(d, gradients.get(first.bias), store);
        let (products, g) = (context.products, Matrix::new(d, inputs));
        let at_weight = gradients.get(first.weight);
        products.multiply(at_weight, 2 * inputs, store, g.t(), Matrix::new(x, inputs));
        products.multiply(&mut at_weight[inputs..], 2 * inputs, store, g.t(), Matrix::new(&tape.lengths, inputs));
        let weight = Matrix::new(w.get(first.weight), 2 * inputs);
        products.multiply(at.x.resize(n * inputs), inputs, Store::Replace, g, weight.columns(0..inputs));
        let at_lengths = scratch.minor.resize(n * inputs);
        products.multiply(at_lengths, inputs, Store::Replace, g, weight.columns(inputs..2 * inputs));

        let at_measured = scratch.at_vec.resize(3 * n * inputs);
        for (slots, measured) in axes_mut(at_measured).into_iter().zip(axes(&tape.measured)) {
            for ((slot, x), (&at, &length)) in slots.iter_mut().zip(measured).zip(at_lengths.iter().zip(&*tape.lengths))
            {
                *slot = if length == 0.0 { 0.0 } else { at * x / length };
            }
        }
        context.at_weight(at_measured, vec, inputs, gradients.get(block.measured.weight), store);
        context.at_weight(at_passed, vec, vectors, gradients.get(block.passed.weight), store);
        let at_vec = at.vec.resize(3 * n * inputs);
        context.linear_back(at_measured, w.get(block.measured.weight), inputs, at_vec, Store::Replace);
        context.linear_back(at_passed, w.get(block.passed.weight), vectors, at_vec, Store::Add);
    }

    /// Back through the product with the gates.
    fn gates_back(
        &self,
        tape: &BlockTape,
        (at_scalars, at_gated): (&[f32], &[f32]),
        at_update: &mut [f32],
        at_passed: &mut [f32],
    ) {
        let (n, widths) = (self.context.plan.len(), self.block.widths);
        let (scalars, vectors) = (widths.scalars, widths.vectors);
        for (row, at_scalars) in at_update.chunks_exact_mut(widths.update()).zip(at_scalars.chunks_exact(scalars)) {
            row[..scalars].copy_from_slice(at_scalars);
        }
        for (row, at_gated) in at_gated.chunks_exact(vectors).enumerate() {
            let start = (row % n) * widths.update() + scalars;
            let (gate, at_gate) = (&tape.update[start..][..vectors], &mut at_update[start..][..vectors]);
            let (passed, at_passed) =
                (&tape.passed[row * vectors..][..vectors], &mut at_passed[row * vectors..][..vectors]);
            for c in 0..vectors {
                at_gate[c] += at_gated[c] * passed[c];
                at_passed[c] = at_gated[c] * gate[c];
            }
        }
    }
}

/// Euclidean lengths of vectors (3, N, width). As in the reference, an atom any of whose numbers is exactly zero
/// has the lengths 0, without a gradient; the plain head says why.
fn lengths(vectors: &[f32], width: usize, lengths: &mut [f32]) {
    let each = vectors.len() / 3;
    for (n, row) in lengths.chunks_exact_mut(width).enumerate() {
        let mut whole = true;
        for (c, length) in row.iter_mut().enumerate() {
            let [x, y, z] = [0, 1, 2].map(|axis| vectors[axis * each + n * width + c]);
            whole &= x != 0.0 && y != 0.0 && z != 0.0;
            *length = (x * x + y * y + z * z).sqrt();
        }
        if !whole {
            row.fill(0.0);
        }
    }
}

/// Column sums for rows of any width.
fn row_sums(rows: &[f32], sums: &mut [f32], store: Store) {
    if store == Store::Replace {
        sums.fill(0.0);
    }
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}
