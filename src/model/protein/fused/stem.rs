//! The tokens before the layers.

use super::context::{Context, at_weight, linear};
use crate::model::engine::{Buffer, Gradients, Matrix, Store};
use crate::model::protein::blueprint::StemParts;

/// The state before the layers, (T, d).
pub(super) fn forward(parts: &StemParts, context: Context<'_>, state: &mut Buffer) {
    let (config, w, plan) = (context.config, context.weights, context.plan);
    let d = config.hidden;
    let state = state.resize(plan.tokens * d);
    linear(context.exact(), &plan.sequence, w.get(parts.sequence.weight), config.sequence_features(), state);
    let weight = Matrix::new(w.get(parts.positions.weight), 3);
    context.exact().multiply(state, d, Store::Add, Matrix::new(&plan.positions, 3), weight.t());
    for segment in &plan.segments {
        state[segment.residues.end * d..segment.tokens.end * d].copy_from_slice(w.get(parts.registers));
    }
}

/// From the gradient at the state before the layers to the parameters.
pub(super) fn back(parts: &StemParts, context: Context<'_>, gradients: &mut Gradients<'_>, at_state: &[f32]) {
    let (config, plan, d) = (context.config, context.plan, context.config.hidden);
    // The registers' features and positions are zero.
    let at_sequence = gradients.get(parts.sequence.weight);
    at_weight(context.exact(), at_state, &plan.sequence, config.sequence_features(), at_sequence);
    at_weight(context.exact(), at_state, &plan.positions, 3, gradients.get(parts.positions.weight));
    let at_registers = gradients.get(parts.registers);
    at_registers.fill(0.0);
    for segment in &plan.segments {
        let rows = &at_state[segment.residues.end * d..segment.tokens.end * d];
        at_registers.iter_mut().zip(rows).for_each(|(to, g)| *to += g);
    }
}
