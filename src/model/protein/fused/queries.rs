//! From the products with a layer's tokens to queries, keys, values and gates, and back.
//!
//! With q̂, k̂ normalised over all heads, q = w_q q̂ + b_q and k = w_k k̂ + b_k, a logit is q·k/√w over a head's channels.
//! q·b_k is the same for all keys and drops out of the softmax; what remains is q′·k̂ with q′ = (w_q q̂ + b_q) w_k/√w,
//! so that keys are used as they are kept, and b_k has no gradient.

use pulp::{Simd, WithSimd};

use super::context::Context;
use crate::model::engine::{
    Buffer, Gradients, Lanes, LayerNorm, Strip, StripMut, affine_rows, affine_rows_back, dispatch, normalise,
    normalise_back,
};
use crate::model::protein::blueprint::AttentionParts;

/// Adds the biases to rows [q | k | v | g], normalises queries and keys and opens the gates. `scales` are those of
/// queries and keys.
pub(super) fn split(rows: &mut [f32], bias: &[f32], [query_scale, key_scale]: [&mut [f32]; 2]) {
    struct Kernel<'a> {
        rows: &'a mut [f32],
        bias: &'a [f32],
        query_scale: &'a mut [f32],
        key_scale: &'a mut [f32],
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.bias.len() / 4;
            let bias = Strip::new(simd, self.bias);
            for (token, row) in self.rows.chunks_exact_mut(4 * width).enumerate() {
                let mut all = StripMut::new(simd, row);
                for k in 0..bias.len() {
                    all.add(k, bias.at(k));
                }
                let (query, row) = row.split_at_mut(width);
                let (key, row) = row.split_at_mut(width);
                self.query_scale[token] = normalise(simd, &mut StripMut::new(simd, query), width);
                self.key_scale[token] = normalise(simd, &mut StripMut::new(simd, key), width);
                let mut gate = StripMut::new(simd, &mut row[width..]);
                for k in 0..gate.len() {
                    gate.set(k, gate.at(k).opening());
                }
            }
        }
    }
    dispatch(Kernel { rows, bias, query_scale, key_scale });
}

/// The way back through [`split`]: from the gradients at q̂, k̂, v and the gates before the sigmoid, in place, to those
/// at the products. The gradient at the bias is replaced.
pub(super) fn join(at_rows: &mut [f32], rows: &[f32], at_bias: &mut [f32], [query_scale, key_scale]: [&[f32]; 2]) {
    struct Kernel<'a> {
        at_rows: &'a mut [f32],
        rows: &'a [f32],
        at_bias: &'a mut [f32],
        query_scale: &'a [f32],
        key_scale: &'a [f32],
    }
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let width = self.at_bias.len() / 4;
            let mut at_bias = StripMut::new(simd, self.at_bias);
            let rows = self.at_rows.chunks_exact_mut(4 * width).zip(self.rows.chunks_exact(4 * width));
            for (token, (at_row, row)) in rows.enumerate() {
                for (part, scale) in [(0, self.query_scale), (1, self.key_scale)] {
                    let place = part * width..(part + 1) * width;
                    let normal = Strip::new(simd, &row[place.clone()]);
                    let mut at = StripMut::new(simd, &mut at_row[place]);
                    normalise_back(simd, &mut at, &normal, scale[token], width);
                }
                let at_row = Strip::new(simd, at_row);
                for k in 0..at_row.len() {
                    at_bias.add(k, at_row.at(k));
                }
            }
        }
    }
    at_bias.fill(0.0);
    dispatch(Kernel { at_rows, rows, at_bias, query_scale, key_scale });
}

/// q′ = factor q̂ + shift.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    parts: &'a AttentionParts,
    context: Context<'a>,
}

impl<'a> Queries<'a> {
    pub(super) fn new(parts: &'a AttentionParts, context: Context<'a>) -> Self {
        Queries { parts, context }
    }

    fn scale(self) -> f32 {
        1.0 / (self.context.config.head_width as f32).sqrt()
    }

    /// q′ of the rows [q̂ | …]. `room` is for the factors.
    pub(super) fn forward(self, rows: &[f32], room: &mut Buffer, queries: &mut [f32]) {
        let (w, parts, scale) = (self.context.weights, self.parts, self.scale());
        let (query, key) = (w.norm(&parts.query_norm), w.get(parts.key_norm.weight));
        let width = key.len();
        let (weight, bias) = room.resize(2 * width).split_at_mut(width);
        for c in 0..width {
            (weight[c], bias[c]) = (query.weight[c] * key[c] * scale, query.bias[c] * key[c] * scale);
        }
        for (row, queries) in rows.chunks_exact(4 * width).zip(queries.chunks_exact_mut(width)) {
            affine_rows(&row[..width], LayerNorm { weight, bias }, queries);
        }
    }

    /// From the gradient at q′ to that at q̂, both in the first part of `at_rows`, and to the norms' parameters.
    pub(super) fn back(self, at_rows: &mut [f32], rows: &[f32], room: &mut Buffer, gradients: &mut Gradients<'_>) {
        let (w, parts, scale) = (self.context.weights, self.parts, self.scale());
        let (query, key) = (w.norm(&parts.query_norm), w.get(parts.key_norm.weight));
        let width = key.len();
        let (factor, rest) = room.zeros(3 * width).split_at_mut(width);
        let (at_factor, at_shift) = rest.split_at_mut(width);
        for c in 0..width {
            factor[c] = query.weight[c] * key[c] * scale;
        }
        for (at, row) in at_rows.chunks_exact_mut(4 * width).zip(rows.chunks_exact(4 * width)) {
            let at_norm = LayerNorm { weight: &mut *at_factor, bias: &mut *at_shift };
            affine_rows_back(&mut at[..width], &row[..width], factor, at_norm);
        }
        let at_query = gradients.norm(&parts.query_norm);
        for c in 0..width {
            at_query.weight[c] = at_factor[c] * key[c] * scale;
            at_query.bias[c] = at_shift[c] * key[c] * scale;
        }
        let at_key = gradients.norm(&parts.key_norm);
        for c in 0..width {
            at_key.weight[c] = (at_factor[c] * query.weight[c] + at_shift[c] * query.bias[c]) * scale;
        }
        at_key.bias.fill(0.0);
    }
}

/// y = o ∘ g for rows o of `gathered` and the gates of `rows`.
pub(super) fn gate(gathered: &[f32], rows: &[f32], width: usize, y: &mut [f32]) {
    struct Kernel<'a>(&'a [f32], &'a [f32], usize, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Kernel(gathered, rows, width, y) = self;
            let tokens = gathered.chunks_exact(width).zip(rows.chunks_exact(4 * width));
            for ((o, row), y) in tokens.zip(y.chunks_exact_mut(width)) {
                let (o, g, mut y) = (Strip::new(simd, o), Strip::new(simd, &row[3 * width..]), StripMut::new(simd, y));
                for k in 0..o.len() {
                    y.set(k, o.at(k) * g.at(k));
                }
            }
        }
    }
    dispatch(Kernel(gathered, rows, width, y));
}

/// The way back through [`gate`]: the gradient at y, in `at`, becomes that at o; o becomes y; the gradient at the gates
/// before their sigmoid goes to the last part of `at_rows`.
pub(super) fn gate_back(at: &mut [f32], gathered: &mut [f32], rows: &[f32], width: usize, at_rows: &mut [f32]) {
    struct Kernel<'a>(&'a mut [f32], &'a mut [f32], &'a [f32], usize, &'a mut [f32]);
    impl WithSimd for Kernel<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Kernel(at, gathered, rows, width, at_rows) = self;
            let one = Lanes::splat(simd, 1.0);
            let tokens = at.chunks_exact_mut(width).zip(gathered.chunks_exact_mut(width));
            let rows = rows.chunks_exact(4 * width).zip(at_rows.chunks_exact_mut(4 * width));
            for ((at, o), (row, at_row)) in tokens.zip(rows) {
                let (mut at, mut o) = (StripMut::new(simd, at), StripMut::new(simd, o));
                let g = Strip::new(simd, &row[3 * width..]);
                let mut at_g = StripMut::new(simd, &mut at_row[3 * width..]);
                for k in 0..g.len() {
                    let (at_y, sigma) = (at.at(k), g.at(k));
                    let y = o.at(k) * sigma;
                    at_g.set(k, at_y * y * (one - sigma));
                    at.set(k, at_y * sigma);
                    o.set(k, y);
                }
            }
        }
    }
    dispatch(Kernel(at, gathered, rows, width, at_rows));
}
