//! One attention layer over a chunk. The plain [`Layer`] states the equations.

use super::context::{Context, Embedded};
use super::far;
use super::messages::{self, Activate, Nodes};
use super::mixing::Mix;
use super::plan::Plan;
use super::records;
use super::state::{Update, axes, axes_mut};
use super::tape::{LayerTape, Scratch, State};
use crate::model::engine::{LANES, Matrix, Store, add_bias, layer_norm};
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
        self.send(&state.vec, tape, next.vec.resize(3 * n * h), scratch);
        context.heads().to_natural(&scratch.minor, tape.sums.resize(n * h));
        context.linear(&tape.sums, w.get(layer.output.weight), 3 * h, &mut tape.output);
        // Last, so that some of it is still in the cache when it is used.
        if self.first {
            tape.projected.zeros(9 * n * h);
        } else {
            context.linear(&state.vec, w.get(layer.vectors.weight), 3 * h, &mut tape.projected);
        }
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
        let (table, kinds) = (scratch.natural.resize(embedded.kinds.len()), Matrix::new(embedded.kinds, h));
        context.products.multiply(table, h, Store::Replace, kinds, weight.columns(h + 1..columns).t());
        add_bias(table, w.get(first.bias));
        let time_weight = scratch.row.resize(h);
        for (slot, row) in time_weight.iter_mut().zip(w.get(first.weight).chunks_exact(columns)) {
            *slot = row[h];
        }
        let Plan { kinds, times, .. } = context.plan;
        let hidden = scratch.hidden.resize(n * h);
        Mix { kinds, table, times, time_weight, y: before, s: hidden }.run();
        context.linear(hidden, w.get(second.weight), h, &mut tape.mixed_normal);
        let (scale, mixed) = (tape.mixed_scale.resize(n), scratch.mixed.resize(n * h));
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
            context.linear(&scratch.mixed, w.get(projection.weight), h, normal);
            let natural = scratch.natural.resize(n * h);
            layer_norm(normal, w.get(projection.bias), w.norm(norm), scale.resize(n), natural);
            heads.to_minor(natural, minor.resize(n * h));
        }
        let parts = context.config.parts();
        context.linear(&scratch.mixed, w.get(layer.value.weight), parts * h, &mut scratch.value);
        let cross = if context.config.so3 { n * h } else { 0 };
        let LayerTape { scalar, v1, v2, v3, .. } = tape;
        let mut split = [scalar.resize(n * h), v1.resize(n * h), v2.resize(n * h), v3.resize(cross)];
        heads.split(&scratch.value, w.get(layer.value.bias), &mut split[..parts]);
    }

    /// The messages: scalar sums into `scratch.minor`, head-minor; vector sums into `vectors`.
    fn send(&self, vec: &[f32], tape: &mut LayerTape, vectors: &mut [f32], scratch: &mut Scratch) {
        let Self { context, embedded, matrix, .. } = *self;
        let (n, h, so3) = (context.plan.len(), context.config.hidden, context.config.so3);
        let asked = scratch.asked.resize(records::ASKED * n * h);
        let sent = scratch.sent.resize(records::sent(so3) * n * h);
        let received = scratch.received.zeros(records::RECEIVED * n * h);
        tape.values(vec).pack(asked, sent);
        let attention = tape.attention.resize(context.plan.pairs.len() * 2 * LANES);
        for (index, tile) in context.plan.tiles.iter().enumerate() {
            let input = context.tile_input(index, matrix, Nodes { asked, sent });
            let filters = &mut scratch.filters;
            context.radial_part(embedded.radial, index, (matrix, context.filters.width()), Activate(input), filters);
            let send = if so3 { messages::send::<true> } else { messages::send::<false> };
            send(input, filters, &mut attention[tile.pairs.start * 2 * LANES..], received);
        }
        records::unpack_received(received, scratch.minor.resize(n * h), axes_mut(vectors));
        let constants = context.constants(matrix, &mut scratch.constants);
        far::send(context.plan, constants, sent, context.exact(), &mut scratch.stack, vectors);
    }
}
