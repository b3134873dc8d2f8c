//! One attention layer over a chunk. The plain [`Layer`] states the equations.

use super::context::{Context, Embedded};
use super::far;
use super::messages;
use super::state::{Update, axes, axes_mut};
use super::tape::{LayerTape, Scratch, State};
use crate::model::engine::{LANES, Matrix, Store, add_bias_silu, layer_norm};
use crate::model::et::layer::Layer;

/// A layer with what it needs besides the state.
pub(super) struct LayerForward<'a> {
    pub(super) layer: &'a Layer,
    pub(super) context: Context<'a>,
    pub(super) embedded: Embedded<'a>,
    /// The layer's packed filters.
    pub(super) matrix: &'a [f32],
    /// Whether V is zero before it.
    pub(super) first: bool,
}

impl LayerForward<'_> {
    /// Computes the state after the layer.
    pub(super) fn run(&self, state: &State, next: &mut State, tape: &mut LayerTape, scratch: &mut Scratch) {
        let Self { layer, context, .. } = *self;
        let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
        self.mix(&state.x, tape, scratch);
        self.attend(tape, scratch);
        if self.first {
            tape.projected.zeros(9 * n * h);
        } else {
            context.linear(&state.vec, w.get(layer.vectors.weight), 3 * h, &mut tape.projected);
        }
        self.send(&state.vec, tape, next.vec.zeros(3 * n * h), scratch);
        context.heads().to_natural(&scratch.minor, tape.sums.resize(n * h));
        context.linear(&tape.sums, w.get(layer.output.weight), 3 * h, &mut tape.output);
        Update {
            hidden: h,
            output: &mut tape.output,
            bias: w.get(layer.output.bias),
            projected: axes(&tape.projected),
            x: &state.x,
            vec: axes(&state.vec),
            next_x: next.x.resize(n * h),
            next_vec: axes_mut(&mut next.vec),
        }
        .run();
    }

    /// g = LN(mixing([x, t, a])).
    fn mix(&self, x: &[f32], tape: &mut LayerTape, scratch: &mut Scratch) {
        let Self { layer, context, embedded, .. } = *self;
        let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
        let [first, second] = &layer.mixing;
        // The columns of the first weight: x, time, atom features.
        let columns = 2 * h + 1;
        let weight = Matrix::new(w.get(first.weight), columns);
        let before = tape.before.resize(n * h);
        context.products.multiply(before, h, Store::Replace, Matrix::new(x, h), weight.columns(0..h).t());
        let features = Matrix::new(embedded.atoms, h);
        context.products.multiply(before, h, Store::Add, features, weight.columns(h + 1..columns).t());
        let time_weight = scratch.row.resize(h);
        for (slot, row) in time_weight.iter_mut().zip(w.get(first.weight).chunks_exact(columns)) {
            *slot = row[h];
        }
        let hidden = tape.hidden.resize(n * h);
        add_bias_silu(before, w.get(first.bias), &context.plan.times, time_weight, hidden);
        context.linear(hidden, w.get(second.weight), h, &mut tape.mixed_normal);
        let (scale, mixed) = (tape.mixed_scale.resize(n), tape.mixed.resize(n * h));
        layer_norm(&mut tape.mixed_normal, w.get(second.bias), w.norm(&layer.norm), scale, mixed);
    }

    /// Queries, keys and values.
    fn attend(&self, tape: &mut LayerTape, scratch: &mut Scratch) {
        let Self { layer, context, .. } = *self;
        let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
        let heads = context.heads();
        for ((projection, norm), normal, scale, minor) in [
            (&layer.query, &mut tape.query_normal, &mut tape.query_scale, &mut tape.query),
            (&layer.key, &mut tape.key_normal, &mut tape.key_scale, &mut tape.key),
        ] {
            context.linear(&tape.mixed, w.get(projection.weight), h, normal);
            let natural = scratch.natural.resize(n * h);
            layer_norm(normal, w.get(projection.bias), w.norm(norm), scale.resize(n), natural);
            heads.to_minor(natural, minor.resize(n * h));
        }
        let parts = context.config.parts();
        context.linear(&tape.mixed, w.get(layer.value.weight), parts * h, &mut scratch.value);
        let cross = if context.config.so3 { n * h } else { 0 };
        let LayerTape { scalar, v1, v2, v3, .. } = tape;
        let mut split = [scalar.resize(n * h), v1.resize(n * h), v2.resize(n * h), v3.resize(cross)];
        heads.split(&scratch.value, w.get(layer.value.bias), &mut split[..parts]);
    }

    /// The messages: scalar sums into `scratch.minor`, head-minor; vector sums are added to `vectors`.
    fn send(&self, vec: &[f32], tape: &mut LayerTape, vectors: &mut [f32], scratch: &mut Scratch) {
        let Self { context, embedded, matrix, .. } = *self;
        let (n, h) = (context.plan.len(), context.config.hidden);
        scratch.minor.zeros(n * h);
        let mut attention = std::mem::take(&mut tape.attention);
        attention.resize(context.plan.pairs.len() * 2 * LANES);
        let nodes = tape.nodes(vec, &mut scratch.scaled, &mut scratch.turned);
        for (index, tile) in context.plan.tiles.iter().enumerate() {
            context.radial_part(embedded.radial, index, matrix, context.filters.width(), &mut scratch.filters);
            let input = context.tile_input(index, matrix, nodes);
            let attention = &mut attention[tile.pairs.start * 2 * LANES..];
            let send = if context.config.so3 { messages::send::<true> } else { messages::send::<false> };
            send(input, &mut scratch.filters, attention, &mut scratch.minor, axes_mut(vectors));
        }
        let constants = context.constants(matrix, &mut scratch.constants);
        far::send(context.plan, constants, nodes, context.exact(), &mut scratch.stack, vectors);
        tape.attention = attention;
    }
}
