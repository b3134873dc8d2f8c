//! Messages between near atoms, a tile of pairs at a time: the fused kernels of attention, vector messages and
//! their sums, forward and back.
//!
//! The filters of a pair serve both directions. A row of filters holds [dk | ds | dv1 | dv2 (| dv3)], each of H
//! numbers. What attention weighs is *head-minor* (channel c of head h at c·heads + h), so that a head's channels
//! lie a fixed number of lanes apart; the rest is in the natural order.

use pulp::{Simd, WithSimd};

use super::plan::Pair;
use crate::model::engine::{LANES, Lanes, Row, RowMut, dispatch, lane_sums};

/// A quantity with three components, one (N, H) matrix per axis.
pub(super) type Axes<'a> = [&'a [f32]; 3];

/// Likewise, to be written to.
pub(super) type AxesMut<'a> = [&'a mut [f32]; 3];

/// What the atoms send and ask, (N, H) each.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'a> {
    /// q, head-minor.
    pub(super) query: &'a [f32],
    /// k, head-minor.
    pub(super) key: &'a [f32],
    /// s, head-minor.
    pub(super) scalar: &'a [f32],
    /// v2.
    pub(super) v2: &'a [f32],
    /// V v1.
    pub(super) scaled: Axes<'a>,
    /// V v3; empty without cross products.
    pub(super) turned: Axes<'a>,
}

/// Gradients at [`Nodes`]; all are added to.
pub(super) struct NodesMut<'a> {
    pub(super) query: &'a mut [f32],
    pub(super) key: &'a mut [f32],
    pub(super) scalar: &'a mut [f32],
    pub(super) v2: &'a mut [f32],
    pub(super) scaled: AxesMut<'a>,
    pub(super) turned: AxesMut<'a>,
}

impl NodesMut<'_> {
    /// The same for a shorter time.
    pub(super) fn reborrow(&mut self) -> NodesMut<'_> {
        NodesMut {
            query: self.query,
            key: self.key,
            scalar: self.scalar,
            v2: self.v2,
            scaled: self.scaled.each_mut().map(|axis| &mut **axis),
            turned: self.turned.each_mut().map(|axis| &mut **axis),
        }
    }
}

/// What both kernels know of a tile.
#[derive(Clone, Copy)]
pub(super) struct TileInput<'a> {
    /// The pairs.
    pub(super) pairs: &'a [Pair],
    /// Channels, H.
    pub(super) hidden: usize,
    /// Heads.
    pub(super) heads: usize,
    /// The column of the filters' weights that the bond type multiplies, and their bias.
    pub(super) kind_weight: &'a [f32],
    /// See `kind_weight`.
    pub(super) bias: &'a [f32],
    /// What the atoms send.
    pub(super) nodes: Nodes<'a>,
}

/// Adds the messages of a tile to the sums `scalars` (N, H), head-minor, and `vectors`. `filters` (pairs, width)
/// holds the radial part of the filters and is used up; `attention` (pairs, 2, LANES) receives Σ_d q k dk for the
/// way back.
pub(super) fn send<const SO3: bool>(
    tile: TileInput<'_>,
    filters: &mut [f32],
    attention: &mut [f32],
    scalars: &mut [f32],
    vectors: AxesMut<'_>,
) {
    dispatch(Send::<SO3> { tile, filters, attention, scalars, vectors });
}

struct Send<'a, const SO3: bool> {
    tile: TileInput<'a>,
    filters: &'a mut [f32],
    attention: &'a mut [f32],
    scalars: &'a mut [f32],
    vectors: AxesMut<'a>,
}

impl<const SO3: bool> WithSimd for Send<'_, SO3> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = self.tile.bias.len();
        let (pairs, filters) = (self.tile.pairs, std::mem::take(&mut self.filters));
        for (index, (pair, filter)) in pairs.iter().zip(filters.chunks_exact_mut(width)).enumerate() {
            activate(simd, &self.tile, pair, filter);
            if pair.to_low {
                self.message(simd, filter, Message::to_low(pair, index));
            }
            if pair.to_high {
                self.message(simd, filter, Message::to_high(pair, index));
            }
        }
    }
}

/// One direction of a pair.
#[derive(Clone, Copy)]
struct Message {
    /// Its place in the rows of attention.
    slot: usize,
    /// The atom it goes to, i.
    target: usize,
    /// The atom it comes from, j.
    source: usize,
    /// (x_j − x_i) / max(D, 0.01).
    u: [f32; 3],
    /// C(D).
    envelope: f32,
}

impl Message {
    /// From the higher atom of the tile's `index`-th pair.
    #[inline(always)]
    fn to_low(pair: &Pair, index: usize) -> Self {
        let Pair { low: target, high: source, direction: u, envelope, .. } = *pair;
        Message { slot: 2 * index, target, source, u, envelope }
    }

    /// From the lower atom.
    #[inline(always)]
    fn to_high(pair: &Pair, index: usize) -> Self {
        let Pair { low: source, high: target, direction, envelope, .. } = *pair;
        Message { slot: 2 * index + 1, target, source, u: direction.map(|c| -c), envelope }
    }
}

/// filter ← silu(filter + type·w + b).
#[inline(always)]
fn activate<S: Simd>(simd: S, tile: &TileInput<'_>, pair: &Pair, filter: &mut [f32]) {
    let width = filter.len();
    let (bias, weight) = (Row::new(simd, tile.bias, width), Row::new(simd, tile.kind_weight, width));
    let mut filter = RowMut::new(simd, filter, width);
    let kind = Lanes::splat(simd, pair.kind);
    for k in 0..bias.len() {
        let value = filter.at(k) + kind.times_plus(weight.at(k), bias.at(k));
        filter.set(k, value * value.sigmoid());
    }
}

impl<const SO3: bool> Send<'_, SO3> {
    #[inline(always)]
    fn message<S: Simd>(&mut self, simd: S, filter: &[f32], message: Message) {
        let Message { slot, target: i, source: j, u, envelope } = message;
        let TileInput { hidden: h, heads, nodes, .. } = self.tile;
        let row = |matrix| Row::new(simd, at(matrix, i, h), h);
        let source = |matrix| Row::new(simd, at(matrix, j, h), h);
        let part = |p: usize| Row::new(simd, &filter[p * h..], h);

        let (query, key, dk) = (row(nodes.query), source(nodes.key), part(0));
        let products = lane_sums(simd, dk.len(), heads, |k| query.at(k) * key.at(k) * dk.at(k));
        self.attention[slot * LANES..][..LANES].copy_from_slice(&products);
        let attention = attend(simd, products, envelope);
        let attention = Row::new(simd, &attention, LANES);
        let (s, ds) = (source(nodes.scalar), part(1));
        let mut sum = RowMut::new(simd, at_mut(self.scalars, i, h), h);
        for k in 0..ds.len() {
            sum.set(k, (s.at(k) * ds.at(k)).times_plus(attention.at(k % attention.len()), sum.at(k)));
        }

        let (dv1, v2, dv2) = (part(2), source(nodes.v2), part(3));
        let dv3 = if SO3 { part(4) } else { dv1 };
        let scaled = nodes.scaled.map(source);
        let turned = if SO3 { nodes.turned.map(source) } else { scaled };
        let [w0, w1, w2] = &mut self.vectors;
        let mut sums = [w0, w1, w2].map(|w| RowMut::new(simd, at_mut(w, i, h), h));
        let u = u.map(|c| Lanes::splat(simd, c));
        for k in 0..dv1.len() {
            let along = v2.at(k) * dv2.at(k);
            for axis in 0..3 {
                let mut total = scaled[axis].at(k).times_plus(dv1.at(k), u[axis].times_plus(along, sums[axis].at(k)));
                if SO3 {
                    let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
                    let cross = u[next] * turned[last].at(k) - u[last] * turned[next].at(k);
                    total = cross.times_plus(dv3.at(k), total);
                }
                sums[axis].set(k, total);
            }
        }
    }
}

/// silu(α) C in every lane.
#[inline(always)]
fn attend<S: Simd>(simd: S, products: [f32; LANES], envelope: f32) -> [f32; LANES] {
    let mut attention = [0.0; LANES];
    let (products, mut result) = (Row::new(simd, &products, LANES), RowMut::new(simd, &mut attention, LANES));
    for k in 0..products.len() {
        let alpha = products.at(k);
        result.set(k, alpha * alpha.sigmoid() * Lanes::splat(simd, envelope));
    }
    attention
}

/// What [`send_back`] works on besides the tile.
pub(super) struct BackInput<'a> {
    /// (pairs, width): the radial part of the filters; replaced by the gradients at the filters before their
    /// activation.
    pub(super) filters: &'a mut [f32],
    /// What [`send`] left, (pairs, 2, LANES).
    pub(super) attention: &'a [f32],
    /// The gradient at the scalar sums, (N, H), head-minor.
    pub(super) at_scalars: &'a [f32],
    /// The gradient at the vector sums.
    pub(super) at_vectors: Axes<'a>,
    /// Added to: the gradients at the filters' bias and at the weight of the bond type.
    pub(super) at_bias: &'a mut [f32],
    /// See `at_bias`.
    pub(super) at_kind_weight: &'a mut [f32],
    /// Room for two rows of filters.
    pub(super) scratch: &'a mut [f32],
}

/// The way back through [`send`]. Adds to the gradients at the atoms and at the filters' bias and type weight.
pub(super) fn send_back<const SO3: bool>(tile: TileInput<'_>, input: BackInput<'_>, at_nodes: NodesMut<'_>) {
    dispatch(SendBack::<SO3> { tile, input, at_nodes });
}

struct SendBack<'a, const SO3: bool> {
    tile: TileInput<'a>,
    input: BackInput<'a>,
    at_nodes: NodesMut<'a>,
}

impl<const SO3: bool> WithSimd for SendBack<'_, SO3> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = self.tile.bias.len();
        let pairs = self.tile.pairs;
        let filters = std::mem::take(&mut self.input.filters);
        let scratch = std::mem::take(&mut self.input.scratch);
        let (slope, gradient) = scratch[..2 * width].split_at_mut(width);
        for (index, (pair, filter)) in pairs.iter().zip(filters.chunks_exact_mut(width)).enumerate() {
            activate_with_slope(simd, &self.tile, pair, filter, slope);
            gradient.fill(0.0);
            for message in
                [pair.to_low.then(|| Message::to_low(pair, index)), pair.to_high.then(|| Message::to_high(pair, index))]
            {
                let Some(message) = message else { continue };
                let (at_attended, at_vectors) = gradient.split_at_mut(2 * self.tile.hidden);
                self.attended(simd, filter, at_attended, message);
                self.vectors(simd, filter, at_vectors, message);
            }
            let mut at_bias = RowMut::new(simd, self.input.at_bias, width);
            let mut at_kind = RowMut::new(simd, self.input.at_kind_weight, width);
            let (slope, gradient) = (Row::new(simd, slope, width), Row::new(simd, gradient, width));
            let mut result = RowMut::new(simd, filter, width);
            let kind = Lanes::splat(simd, pair.kind);
            for k in 0..slope.len() {
                let value = gradient.at(k) * slope.at(k);
                result.set(k, value);
                at_bias.add(k, value);
                if pair.kind != 0.0 {
                    at_kind.set(k, kind.times_plus(value, at_kind.at(k)));
                }
            }
        }
    }
}

/// filter ← silu(y) and slope = silu′(y) for y = filter + type·w + b.
#[inline(always)]
fn activate_with_slope<S: Simd>(simd: S, tile: &TileInput<'_>, pair: &Pair, filter: &mut [f32], slope: &mut [f32]) {
    let width = filter.len();
    let (bias, weight) = (Row::new(simd, tile.bias, width), Row::new(simd, tile.kind_weight, width));
    let (mut filter, mut slope) = (RowMut::new(simd, filter, width), RowMut::new(simd, slope, width));
    let (kind, one) = (Lanes::splat(simd, pair.kind), Lanes::splat(simd, 1.0));
    for k in 0..bias.len() {
        let value = filter.at(k) + kind.times_plus(weight.at(k), bias.at(k));
        let sigma = value.sigmoid();
        let active = value * sigma;
        filter.set(k, active);
        slope.set(k, sigma + active * (one - sigma));
    }
}

impl<const SO3: bool> SendBack<'_, SO3> {
    /// Back through attention and the scalar message; `gradient`, that at [dk | ds], is added to.
    #[inline(always)]
    fn attended<S: Simd>(&mut self, simd: S, filter: &[f32], gradient: &mut [f32], message: Message) {
        let Message { slot, target: i, source: j, envelope, .. } = message;
        let TileInput { hidden: h, heads, nodes, .. } = self.tile;
        let (at_dk, at_ds) = gradient.split_at_mut(h);
        let (mut at_dk, mut at_ds) = (RowMut::new(simd, at_dk, h), RowMut::new(simd, at_ds, h));
        let (dk, ds) = (Row::new(simd, filter, h), Row::new(simd, &filter[h..], h));
        let at_sum = Row::new(simd, at(self.input.at_scalars, i, h), h);
        let s = Row::new(simd, at(nodes.scalar, j, h), h);
        let at_attention = lane_sums(simd, ds.len(), heads, |k| at_sum.at(k) * s.at(k) * ds.at(k));
        let products = &self.input.attention[slot * LANES..][..LANES];
        let (attention, at_products) = attend_back(simd, products, &at_attention, envelope);
        let attention = Row::new(simd, &attention, LANES);
        let mut at_s = RowMut::new(simd, at_mut(self.at_nodes.scalar, j, h), h);
        for k in 0..ds.len() {
            let t = at_sum.at(k) * attention.at(k % attention.len());
            at_ds.set(k, t.times_plus(s.at(k), at_ds.at(k)));
            at_s.set(k, t.times_plus(ds.at(k), at_s.at(k)));
        }
        let (query, key) = (Row::new(simd, at(nodes.query, i, h), h), Row::new(simd, at(nodes.key, j, h), h));
        let mut at_query = RowMut::new(simd, at_mut(self.at_nodes.query, i, h), h);
        let mut at_key = RowMut::new(simd, at_mut(self.at_nodes.key, j, h), h);
        let at_products = Row::new(simd, &at_products, LANES);
        for k in 0..dk.len() {
            let t = at_products.at(k % at_products.len());
            let (to_query, to_key) = (t * query.at(k), t * dk.at(k));
            at_dk.set(k, to_query.times_plus(key.at(k), at_dk.at(k)));
            at_query.set(k, to_key.times_plus(key.at(k), at_query.at(k)));
            at_key.set(k, to_key.times_plus(query.at(k), at_key.at(k)));
        }
    }

    /// Back through the vector message; `gradient`, that at [dv1 | dv2 (| dv3)], is added to.
    #[inline(always)]
    fn vectors<S: Simd>(&mut self, simd: S, filter: &[f32], gradient: &mut [f32], message: Message) {
        let Message { target: i, source: j, u, .. } = message;
        let TileInput { hidden: h, nodes, .. } = self.tile;
        let source = |matrix| Row::new(simd, at(matrix, j, h), h);
        let part = |p: usize| Row::new(simd, &filter[p * h..], h);
        let (dv1, v2, dv2) = (part(2), source(nodes.v2), part(3));
        let dv3 = if SO3 { part(4) } else { dv1 };
        let scaled = nodes.scaled.map(source);
        let turned = if SO3 { nodes.turned.map(source) } else { scaled };
        let at_sums = self.input.at_vectors.map(|matrix| Row::new(simd, at(matrix, i, h), h));
        let (at_dv1, rest) = gradient.split_at_mut(h);
        let (at_dv2, at_dv3) = rest.split_at_mut(h);
        let (mut at_dv1, mut at_dv2) = (RowMut::new(simd, at_dv1, h), RowMut::new(simd, at_dv2, h));
        let NodesMut { v2: at_v2, scaled: at_scaled, turned: at_turned, .. } = &mut self.at_nodes;
        let mut at_v2 = RowMut::new(simd, at_mut(at_v2, j, h), h);
        let cross_width = if SO3 { h } else { 0 };
        let mut at_dv3 = RowMut::new(simd, at_dv3, cross_width);
        let [x, y, z] = at_scaled;
        let mut at_scaled = [x, y, z].map(|matrix| RowMut::new(simd, at_mut(matrix, j, h), h));
        let [x, y, z] = at_turned;
        let mut at_turned = [x, y, z].map(|matrix| RowMut::new(simd, at_mut(matrix, j, cross_width), cross_width));
        let u = u.map(|c| Lanes::splat(simd, c));
        for k in 0..dv1.len() {
            let g: [Lanes<S>; 3] = std::array::from_fn(|axis| at_sums[axis].at(k));
            let (mut along, mut along_u) = (at_dv1.at(k), g[0] * u[0]);
            for axis in 0..3 {
                along = g[axis].times_plus(scaled[axis].at(k), along);
                at_scaled[axis].set(k, g[axis].times_plus(dv1.at(k), at_scaled[axis].at(k)));
            }
            at_dv1.set(k, along);
            along_u = g[2].times_plus(u[2], g[1].times_plus(u[1], along_u));
            at_dv2.set(k, along_u.times_plus(v2.at(k), at_dv2.at(k)));
            at_v2.set(k, along_u.times_plus(dv2.at(k), at_v2.at(k)));
            if SO3 {
                let mut triple = at_dv3.at(k);
                for axis in 0..3 {
                    let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
                    // The component of g × u: ⟨g, u × V⟩ = ⟨V, g × u⟩.
                    let across = g[next] * u[last] - g[last] * u[next];
                    triple = across.times_plus(turned[axis].at(k), triple);
                    at_turned[axis].set(k, across.times_plus(dv3.at(k), at_turned[axis].at(k)));
                }
                at_dv3.set(k, triple);
            }
        }
    }
}

/// silu(α) C, and the gradient at α, in every lane.
#[inline(always)]
fn attend_back<S: Simd>(
    simd: S,
    products: &[f32],
    at_attention: &[f32; LANES],
    envelope: f32,
) -> ([f32; LANES], [f32; LANES]) {
    let (mut attention, mut at_products) = ([0.0; LANES], [0.0; LANES]);
    let (products, at_attention) = (Row::new(simd, products, LANES), Row::new(simd, at_attention, LANES));
    let (mut value, mut gradient) =
        (RowMut::new(simd, &mut attention, LANES), RowMut::new(simd, &mut at_products, LANES));
    let (envelope, one) = (Lanes::splat(simd, envelope), Lanes::splat(simd, 1.0));
    for k in 0..products.len() {
        let alpha = products.at(k);
        let sigma = alpha.sigmoid();
        value.set(k, alpha * sigma * envelope);
        gradient.set(k, at_attention.at(k) * envelope * sigma * alpha.times_plus(one - sigma, one));
    }
    (attention, at_products)
}

/// Row `n` of a matrix of this width, and what follows.
#[inline(always)]
fn at(matrix: &[f32], n: usize, width: usize) -> &[f32] {
    &matrix[n * width..][..width]
}

#[inline(always)]
fn at_mut(matrix: &mut [f32], n: usize, width: usize) -> &mut [f32] {
    &mut matrix[n * width..][..width]
}
