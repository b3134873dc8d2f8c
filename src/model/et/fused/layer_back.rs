//! The way back through an attention layer.

use super::context::{Context, Embedded, at_bias, norm_back};
use super::far;
use super::messages::{self, BackInput, NodesMut};
use super::state::{UpdateBack, axes, axes_mut, scale_back};
use super::tape::{AtEmbedded, LayerTape, Scratch, State};
use crate::model::engine::{Gradients, LANES, Matrix, Store, silu_back};
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
        let (n, h, width) = (context.plan.len(), context.config.hidden, context.filters.width());
        let cross = if context.config.so3 { n * h } else { 0 };
        let mut at_nodes = NodesMut {
            query: scratch.at_query.zeros(n * h),
            key: scratch.at_key.zeros(n * h),
            scalar: scratch.at_scalar.zeros(n * h),
            v2: scratch.at_v2.zeros(n * h),
            scaled: axes_mut(scratch.at_scaled.zeros(3 * n * h)),
            turned: axes_mut(scratch.at_turned.zeros(3 * cross)),
        };
        let nodes = tape.nodes(&self.state.vec, &mut scratch.scaled, &mut scratch.turned);
        let constants = context.constants(matrix, &mut scratch.constants);
        let at_constants = scratch.at_constants.zeros(constants.numbers.len());
        let far = far::Back { plan: context.plan, constants, nodes, products: context.exact() };
        far.run(&mut scratch.stack, &at.vec, &mut at_nodes, at_constants);

        let at_matrix = scratch.at_filters.zeros(context.filters.len());
        let (at_radial_weights, rest) = at_matrix.split_at_mut(context.config.rbf * width);
        let (at_kind_weight, at_bias) = rest.split_at_mut(width);
        for (index, tile) in context.plan.tiles.iter().enumerate() {
            let radial = self.embedded.radial;
            context.radial_part(radial, index, matrix, width, &mut scratch.filters);
            let input = BackInput {
                filters: &mut scratch.filters,
                attention: &tape.attention[tile.pairs.start * 2 * LANES..],
                at_scalars: &scratch.minor,
                at_vectors: axes(&at.vec),
                at_bias,
                at_kind_weight,
                scratch: scratch.filter_rows.resize(2 * width),
            };
            let back = if context.config.so3 { messages::send_back::<true> } else { messages::send_back::<false> };
            back(context.tile_input(index, matrix, nodes), input, at_nodes.reborrow());
            context.radial_back(
                radial,
                index,
                (matrix, width),
                &scratch.filters,
                at_radial_weights,
                &mut self.at_embedded.radial,
            );
        }
        for ((slot, &g), &b) in at_bias[2 * h..].iter_mut().zip(&*at_constants).zip(context.vector_bias(matrix)) {
            let sigma = 1.0 / (1.0 + (-b).exp());
            *slot += g * sigma * (1.0 + b * (1.0 - sigma));
        }
        // `at.vec` holds the residual path; the messages' part comes on top.
        let vec = axes(&self.state.vec);
        let (at_vec, at_scaled) = (axes_mut(&mut at.vec), axes(&scratch.at_scaled));
        scale_back(at_scaled, vec, &tape.v1, at_vec, scratch.at_v1.resize(n * h));
        let at_vec = axes_mut(&mut at.vec).map(|axis| &mut axis[..cross]);
        scale_back(
            axes(&scratch.at_turned),
            vec.map(|axis| &axis[..cross]),
            &tape.v3,
            at_vec,
            scratch.at_v3.resize(cross),
        );
        context.filters.unpack(self.layer, &scratch.at_filters, self.gradients);
    }

    /// From queries, keys and values to the gradient at g, in `scratch.at_mixed`.
    fn attend_back(&mut self) {
        let Self { layer, context, tape, ref mut scratch, ref mut gradients, .. } = *self;
        let store = gradients.store;
        let (n, h, w) = (context.plan.len(), context.config.hidden, context.weights);
        let parts = context.config.parts();
        let at_value = scratch.value.resize(n * parts * h);
        let split: [&[f32]; 4] = [&scratch.at_scalar, &scratch.at_v1, &scratch.at_v2, &scratch.at_v3];
        context.heads().join(&split[..parts], at_value);
        context.at_weight(at_value, &tape.mixed, parts * h, gradients.get(layer.value.weight), store);
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
            context.at_weight(at, &tape.mixed, h, gradients.get(projection.weight), store);
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
        context.at_weight(at_mixed, &tape.hidden, h, gradients.get(second.weight), store);
        at_bias(at_mixed, gradients.get(second.bias), store);
        let d = scratch.natural.resize(n * h);
        context.linear_back(at_mixed, w.get(second.weight), h, d, Store::Replace);
        silu_back(d, &tape.before, h);
        at_bias(d, gradients.get(first.bias), store);

        // The columns of the first weight: x, time, atom features.
        let columns = 2 * h + 1;
        let at_weight = gradients.get(first.weight);
        let (products, d) = (context.products, Matrix::new(d, h));
        products.multiply(at_weight, columns, store, d.t(), Matrix::new(&self.state.x, h));
        products.multiply(&mut at_weight[h + 1..], columns, store, d.t(), Matrix::new(self.embedded.atoms, h));
        context.exact().multiply(&mut at_weight[h..], columns, store, d.t(), Matrix::new(&context.plan.times, 1));
        let weight = Matrix::new(w.get(first.weight), columns);
        products.multiply(&mut at.x, h, Store::Add, d, weight.columns(0..h));
        products.multiply(&mut self.at_embedded.atoms, h, Store::Add, d, weight.columns(h + 1..columns));
    }
}
