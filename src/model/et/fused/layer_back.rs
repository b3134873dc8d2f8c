//! The way back through an attention layer.

use super::context::{Context, Embedded, at_bias, norm_back};
use super::far;
use super::messages::{self, ActivateWithSlope, BackInput, Nodes, NodesMut};
use super::mixing::MixBack;
use super::plan::Plan;
use super::records::{self, ValuesMut};
use super::state::{UpdateBack, axes, axes_mut};
use super::tape::{AtEmbedded, LayerTape, Scratch, State};
use crate::model::engine::{Gradients, LANES, Matrix, Store, affine_rows};
use crate::model::et::layer::Layer;

/// A layer on the way back: what the forward pass left, and where gradients go.
pub(super) struct LayerBack<'a, 'g> {
    pub(super) layer: &'a Layer,
    pub(super) context: Context<'a>,
    pub(super) embedded: Embedded<'a>,
    /// The layer's packed filters.
    pub(super) matrix: &'a [f32],
    /// Whether V was zero before it.
    pub(super) first: bool,
    /// The state before it.
    pub(super) state: &'a State,
    pub(super) tape: &'a LayerTape,
    /// The gradients at the layer's parameters.
    pub(super) gradients: &'a mut Gradients<'g>,
    pub(super) at_embedded: &'a mut AtEmbedded,
    pub(super) scratch: &'a mut Scratch,
}

impl LayerBack<'_, '_> {
    /// `at` holds the gradient at the state after the layer and receives that at the state before.
    pub(super) fn run(mut self, at: &mut State) {
        let store = self.gradients.store;
        self.update_back(at);
        self.send_back(at);
        if self.first {
            if store == Store::Replace {
                self.gradients.get(self.layer.vectors.weight).fill(0.0);
            }
        } else {
            let (index, width) = (self.layer.vectors.weight, 3 * self.context.config.hidden);
            let at_projected = &self.scratch.at_projected;
            self.context.at_weight(at_projected, &self.state.vec, width, self.gradients.get(index), store);
            self.context.linear_back(at_projected, self.context.weights.get(index), width, &mut at.vec, Store::Add);
        }
        self.attend_back();
        self.mix_back(at);
    }

    /// From the state after the layer to the sums of scalar messages (into `scratch.minor`) and to w.
    fn update_back(&mut self, at: &State) {
        let (n, h, scratch) = (self.context.plan.len(), self.context.config.hidden, &mut *self.scratch);
        UpdateBack {
            hidden: h,
            output: &self.tape.output,
            projected: axes(&self.tape.projected),
            at_x: &at.x,
            at_vec: axes(&at.vec),
            at_output: scratch.at_output.resize(n * 3 * h),
            at_projected: axes_mut(scratch.at_projected.resize(9 * n * h)),
        }
        .run();
        let (output, at_output, store) = (&self.layer.output, &scratch.at_output, self.gradients.store);
        self.context.at_weight(at_output, &self.tape.sums, 3 * h, self.gradients.get(output.weight), store);
        at_bias(at_output, self.gradients.get(output.bias), store);
        let at_sums = scratch.natural.resize(n * h);
        let weight = self.context.weights.get(output.weight);
        self.context.linear_back(at_output, weight, 3 * h, at_sums, Store::Replace);
        self.context.heads().to_minor(at_sums, scratch.minor.resize(n * h));
    }

    /// Back through the messages; the gradient at V gains theirs.
    fn send_back(&mut self, at: &mut State) {
        let Self { context, matrix, tape, ref mut scratch, .. } = *self;
        let (n, h, so3) = (context.plan.len(), context.config.hidden, context.config.so3);
        let width = context.filters.width();
        let values = tape.values(&self.state.vec);
        let asked = scratch.asked.resize(records::ASKED * n * h);
        let sent = scratch.sent.resize(records::sent(so3) * n * h);
        values.pack(asked, sent);
        let at_received = scratch.received.resize(records::RECEIVED * n * h);
        records::pack_received(&scratch.minor, axes(&at.vec), at_received);
        let at_asked = scratch.at_asked.zeros(asked.len());
        let at_sent = scratch.at_sent.zeros(sent.len());
        let constants = context.constants(matrix, &mut scratch.constants);
        let at_constants = scratch.at_constants.zeros(constants.numbers.len());
        let far = far::Back { plan: context.plan, constants, sent, products: context.exact() };
        far.run(&mut scratch.stack, &at.vec, at_sent, at_constants);

        let at_matrix = scratch.at_filters.zeros(context.filters.len());
        let (at_radial_weights, rest) = at_matrix.split_at_mut(context.config.rbf * width);
        let (at_kind_weight, at_bias) = rest.split_at_mut(width);
        for (index, pairs) in context.plan.tiles.iter().map(|tile| tile.pairs.clone()).enumerate() {
            let (radial, filters) = (self.embedded.radial, &mut scratch.filters);
            let input = context.tile_input(index, matrix, Nodes { asked, sent });
            let slopes = scratch.slopes.resize(pairs.len() * width);
            let activate = ActivateWithSlope { tile: input, slopes };
            context.radial_part(radial, index, (matrix, width), activate, filters);
            let back = BackInput {
                filters,
                slopes: &scratch.slopes,
                attention: &tape.attention[pairs.start * 2 * LANES..],
                at_received,
                at_bias,
                at_kind_weight,
            };
            let send_back = if so3 { messages::send_back::<true> } else { messages::send_back::<false> };
            send_back(input, back, NodesMut { asked: at_asked, sent: at_sent });
            let at_radial = &mut self.at_embedded.radial;
            context.radial_back(radial, index, (matrix, width), filters, at_radial_weights, at_radial);
        }
        let bias = &matrix[(context.config.rbf + 1) * width..];
        for (&g, column) in at_constants.iter().zip(context.filters.vector_columns()) {
            let b = bias[column];
            let sigma = 1.0 / (1.0 + (-b).exp());
            at_bias[column] += g * sigma * (1.0 + b * (1.0 - sigma));
        }
        // `at.vec` holds the residual path; the messages' part comes on top.
        let cross = values.v3.len();
        let at_values = ValuesMut {
            query: scratch.at_query.resize(n * h),
            key: scratch.at_key.resize(n * h),
            scalar: scratch.at_scalar.resize(n * h),
            v1: scratch.at_v1.resize(n * h),
            v2: scratch.at_v2.resize(n * h),
            v3: scratch.at_v3.resize(cross),
            vec: axes_mut(&mut at.vec),
        };
        at_values.unpack(values, at_asked, at_sent);
        context.filters.unpack(self.layer, &scratch.at_filters, self.gradients);
    }

    /// From queries, keys and values to the gradient at g, in `scratch.at_mixed`.
    fn attend_back(&mut self) {
        let Self { layer, context, tape, ref mut scratch, ref mut gradients, .. } = *self;
        let store = gradients.store;
        let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
        let parts = context.config.parts();
        let mixed = scratch.mixed.resize(n * h);
        affine_rows(&tape.mixed_normal, w.norm(&layer.norm), mixed);
        let at_value = scratch.value.resize(n * parts * h);
        let split: [&[f32]; 4] = [&scratch.at_scalar, &scratch.at_v1, &scratch.at_v2, &scratch.at_v3];
        context.heads().join(&split[..parts], at_value);
        context.at_weight(at_value, mixed, parts * h, gradients.get(layer.value.weight), store);
        at_bias(at_value, gradients.get(layer.value.bias), store);
        let at_mixed = scratch.at_mixed.resize(n * h);
        context.linear_back(at_value, w.get(layer.value.weight), parts * h, at_mixed, Store::Replace);
        for ((projection, norm), normal, scale, minor) in [
            (&layer.query, &tape.query_normal, &tape.query_scale, &scratch.at_query),
            (&layer.key, &tape.key_normal, &tape.key_scale, &scratch.at_key),
        ] {
            let at = scratch.natural.resize(n * h);
            context.heads().to_natural(minor, at);
            norm_back(at, normal, scale, w.get(norm.weight), gradients.norm(norm), store);
            context.at_weight(at, mixed, h, gradients.get(projection.weight), store);
            at_bias(at, gradients.get(projection.bias), store);
            context.linear_back(at, w.get(projection.weight), h, at_mixed, Store::Add);
        }
    }

    /// From g to x and the atom features.
    fn mix_back(&mut self, at: &mut State) {
        let Self { layer, context, tape, ref mut scratch, ref mut gradients, .. } = *self;
        let store = gradients.store;
        let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
        let [first, second] = &layer.mixing;
        let at_mixed = &mut *scratch.at_mixed;
        let norm = gradients.norm(&layer.norm);
        norm_back(at_mixed, &tape.mixed_normal, &tape.mixed_scale, w.get(layer.norm.weight), norm, store);
        at_bias(at_mixed, gradients.get(second.bias), store);
        let d = scratch.natural.resize(n * h);
        context.linear_back(at_mixed, w.get(second.weight), h, d, Store::Replace);
        let Plan { kinds, times, .. } = context.plan;
        let (at_table, at_time_weight) = (scratch.minor.zeros(self.embedded.kinds.len()), scratch.row.zeros(h));
        let s = scratch.hidden.resize(n * h);
        MixBack { kinds, times, y: &tape.before, s, d, at_table, at_time_weight }.run();
        context.at_weight(at_mixed, s, h, gradients.get(second.weight), store);
        at_bias(at_table, gradients.get(first.bias), store);

        // The columns of the first weight: x, time, atom features.
        let columns = 2 * h + 1;
        let at_weight = gradients.get(first.weight);
        let (products, d, at_table) = (context.products, Matrix::new(d, h), Matrix::new(at_table, h));
        products.multiply(at_weight, columns, store, d.t(), Matrix::new(&self.state.x, h));
        let at_features = &mut at_weight[h + 1..];
        products.multiply(at_features, columns, store, at_table.t(), Matrix::new(self.embedded.kinds, h));
        for (row, &g) in at_weight.chunks_exact_mut(columns).zip(&*at_time_weight) {
            row[h] = if store == Store::Add { row[h] + g } else { g };
        }
        let weight = Matrix::new(w.get(first.weight), columns);
        products.multiply(&mut at.x, h, Store::Add, d, weight.columns(0..h));
        products.multiply(&mut self.at_embedded.kinds, h, Store::Add, at_table, weight.columns(h + 1..columns));
    }
}
