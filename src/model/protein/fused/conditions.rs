//! What is computed once per chain: the conditioning, and the rows of gains, shifts and gates that depend on it.

use super::context::Context;
use super::tape::{AdaptiveTape, ConditionsTape, GateTape, Scratch, TransitionTape};
use crate::model::engine::{
    Buffer, Gradients, Lanes, LayerNorm, Store, Strip, StripMut, affine_rows, affine_rows_back, dispatch, gated_silu,
    gated_silu_back, normalise_rows, normalise_rows_back, thin_at_weight, thin_back, thin_product,
};
use crate::model::layers::Linear;
use crate::model::protein::blueprint::{AdaptiveParts, CONDITION_EXPANSION, ConditionParts, TransitionParts};
use pulp::{Simd, WithSimd};

/// A conditioning that adaptive norms see: rows, normalised.
#[derive(Clone, Copy)]
pub(super) struct Normalised<'a> {
    /// (rows, c).
    pub(super) rows: &'a [f32],
    /// c.
    pub(super) width: usize,
}

impl AdaptiveTape {
    /// The rows [gain | shift] of an adaptive norm.
    pub(super) fn forward(&mut self, parts: &AdaptiveParts, context: Context<'_>, given: Normalised<'_>) {
        let w = context.weights;
        let (count, width) = (given.rows.len() / given.width, w.get(parts.gain.bias).len());
        affine_rows(given.rows, w.norm(&parts.norm), self.condition.resize(given.rows.len()));
        let matrix = w.run(parts.gain.weight, parts.shift.weight);
        thin_product(&self.condition, matrix, given.width, self.rows.resize(count * 2 * width));
        sigmoid_rows(&mut self.rows, 2 * width, w.get(parts.gain.bias));
    }

    /// From the gradient at the rows (which is spoilt) to the parameters and, added, to the normalised conditioning.
    pub(super) fn back(
        &mut self,
        parts: &AdaptiveParts,
        context: Context<'_>,
        gradients: &mut Gradients<'_>,
        given: Normalised<'_>,
        at_given: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (w, c, width) = (context.weights, given.width, context.weights.get(parts.gain.bias).len());
        let at_rows = &mut *self.at_rows;
        sigmoid_rows_back(at_rows, &self.rows, 2 * width, gradients.get(parts.gain.bias));
        let (first, last) = (parts.gain.weight, parts.shift.weight);
        thin_at_weight(at_rows, &self.condition, c, Store::Replace, gradients.run(first, last));
        let at_condition = scratch.rows[0].zeros(given.rows.len());
        thin_back(at_rows, w.run(first, last), c, at_condition);
        let at_norm = zeroed(gradients.norm(&parts.norm));
        affine_rows_back(at_condition, given.rows, w.get(parts.norm.weight), at_norm);
        at_given.iter_mut().zip(at_condition).for_each(|(to, g)| *to += *g);
    }
}

impl GateTape {
    /// The rows of the gate before a residual; sees the conditioning as it is.
    pub(super) fn forward(&mut self, parts: &Linear, context: Context<'_>, condition: &[f32]) {
        let (w, c) = (context.weights, context.config.condition);
        let bias = w.get(parts.bias);
        let rows = self.rows.resize(condition.len() / c * bias.len());
        thin_product(condition, w.get(parts.weight), c, rows);
        sigmoid_rows(rows, bias.len(), bias);
    }

    /// From the gradient at the rows (which is spoilt) to the parameters and, added, to the conditioning.
    pub(super) fn back(
        &mut self,
        parts: &Linear,
        context: Context<'_>,
        gradients: &mut Gradients<'_>,
        condition: &[f32],
        at_condition: &mut [f32],
    ) {
        let (w, c) = (context.weights, context.config.condition);
        let at_rows = &mut *self.at_rows;
        sigmoid_rows_back(at_rows, &self.rows, w.get(parts.bias).len(), gradients.get(parts.bias));
        thin_at_weight(at_rows, condition, c, Store::Replace, gradients.get(parts.weight));
        thin_back(at_rows, w.get(parts.weight), c, at_condition);
    }
}

/// The conditioning of all chains.
pub(super) fn forward(parts: &ConditionParts, context: Context<'_>, tape: &mut ConditionsTape) {
    let Context { config, weights: w, plan, .. } = context;
    let (c, fold) = (config.condition, config.fold);
    let inputs = config.time + 3 * fold;
    let features = tape.features.resize(plan.len() * inputs);
    for (b, row) in features.chunks_exact_mut(inputs).enumerate() {
        let (time, classes) = row.split_at_mut(config.time);
        time.copy_from_slice(&plan.times[b * config.time..][..config.time]);
        for (level, slot) in classes.chunks_exact_mut(fold).enumerate() {
            slot.copy_from_slice(&w.get(parts.folds[level])[plan.folds[b][level] * fold..][..fold]);
        }
    }
    let projected = tape.projected.resize(plan.len() * c);
    thin_product(features, w.get(parts.projection.weight), inputs, projected);
    let [first, second] = &mut tape.transitions;
    first.forward(&parts.transitions[0], context, projected);
    second.forward(&parts.transitions[1], context, &first.output);
    tape.rows.zeros(context.rows() * c)[c..].copy_from_slice(&second.output);
    tape.normal.resize(context.rows() * c).copy_from_slice(&tape.rows);
    normalise_rows(&mut tape.normal, c, tape.scale.resize(context.rows()));
}

/// From the gradients that the layers left at the conditioning to its parameters.
pub(super) fn back(
    parts: &ConditionParts,
    context: Context<'_>,
    gradients: &mut Gradients<'_>,
    tape: &mut ConditionsTape,
    scratch: &mut Scratch,
) {
    let Context { config, weights: w, plan, .. } = context;
    let (c, fold) = (config.condition, config.fold);
    let inputs = config.time + 3 * fold;
    normalise_rows_back(&mut tape.at_normal, &tape.normal, &tape.scale, c);
    tape.at_rows.iter_mut().zip(tape.at_normal.iter()).for_each(|(to, g)| *to += g);
    // The registers' zeros are not computed from anything.
    let [at, room, _] = &mut scratch.rows;
    at.resize(plan.len() * c).copy_from_slice(&tape.at_rows[c..]);
    let [first, second] = &mut tape.transitions;
    second.back(&parts.transitions[1], context, gradients, &first.output, at, room);
    first.back(&parts.transitions[0], context, gradients, &tape.projected, at, room);
    thin_at_weight(at, &tape.features, inputs, Store::Replace, gradients.get(parts.projection.weight));
    let at_features = room.zeros(plan.len() * inputs);
    thin_back(at, w.get(parts.projection.weight), inputs, at_features);
    for level in 0..3 {
        let at_table = gradients.get(parts.folds[level]);
        at_table.fill(0.0);
        for (folds, row) in plan.folds.iter().zip(at_features.chunks_exact(inputs)) {
            let slot = &mut at_table[folds[level] * fold..][..fold];
            slot.iter_mut().zip(&row[config.time + level * fold..]).for_each(|(to, g)| *to += g);
        }
    }
}

impl TransitionTape {
    fn forward(&mut self, parts: &TransitionParts, context: Context<'_>, x: &[f32]) {
        let (w, c) = (context.weights, context.config.condition);
        let (rows, inside) = (x.len() / c, CONDITION_EXPANSION * c);
        thin_product(x, w.get(parts.widen.weight), c, self.wide.resize(rows * 2 * inside));
        gated_silu(&self.wide, inside, self.inside.resize(rows * inside));
        thin_product(&self.inside, w.get(parts.narrow.weight), inside, self.output.resize(x.len()));
    }

    /// `at` holds the gradient at the output and receives that at the input, `x`.
    fn back(
        &mut self,
        parts: &TransitionParts,
        context: Context<'_>,
        gradients: &mut Gradients<'_>,
        x: &[f32],
        at: &mut [f32],
        room: &mut Buffer,
    ) {
        let (w, c) = (context.weights, context.config.condition);
        let inside = CONDITION_EXPANSION * c;
        thin_at_weight(at, &self.inside, inside, Store::Replace, gradients.get(parts.narrow.weight));
        let at_inside = room.zeros(self.inside.len());
        thin_back(at, w.get(parts.narrow.weight), inside, at_inside);
        gated_silu_back(&mut self.wide, inside, at_inside);
        thin_at_weight(&self.wide, x, c, Store::Replace, gradients.get(parts.widen.weight));
        at.fill(0.0);
        thin_back(&self.wide, w.get(parts.widen.weight), c, at);
    }
}

/// The gradients at a norm's parameters, as zeros.
pub(super) fn zeroed(norm: LayerNorm<&mut [f32]>) -> LayerNorm<&mut [f32]> {
    norm.weight.fill(0.0);
    norm.bias.fill(0.0);
    norm
}

/// σ(x + b) for the first numbers of each row, as many as b has.
fn sigmoid_rows(rows: &mut [f32], width: usize, bias: &[f32]) {
    struct Kernel<'a>(&'a mut [f32], usize, &'a [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let bias = Strip::new(simd, self.2);
            for row in self.0.chunks_exact_mut(self.1) {
                let mut row = StripMut::new(simd, &mut row[..self.2.len()]);
                for k in 0..bias.len() {
                    row.set(k, (row.at(k) + bias.at(k)).opening());
                }
            }
        }
    }
    dispatch(Kernel(rows, width, bias));
}

/// The way back through [`sigmoid_rows`]: from the gradient at its result, in `d`, to that at x; that at b is replaced.
fn sigmoid_rows_back(d: &mut [f32], rows: &[f32], width: usize, at_bias: &mut [f32]) {
    struct Kernel<'a>(&'a mut [f32], &'a [f32], usize, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (count, one) = (self.3.len(), Lanes::splat(simd, 1.0));
            let mut at_bias = StripMut::new(simd, self.3);
            for (d, row) in self.0.chunks_exact_mut(self.2).zip(self.1.chunks_exact(self.2)) {
                let (mut d, row) = (StripMut::new(simd, &mut d[..count]), Strip::new(simd, &row[..count]));
                for k in 0..row.len() {
                    let sigma = row.at(k);
                    let at_x = d.at(k) * sigma * (one - sigma);
                    d.set(k, at_x);
                    at_bias.add(k, at_x);
                }
            }
        }
    }
    at_bias.fill(0.0);
    dispatch(Kernel(d, rows, width, at_bias));
}
