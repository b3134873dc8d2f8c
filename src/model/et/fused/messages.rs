//! Messages between near atoms, a tile of pairs at a time: the fused kernels of attention, vector messages and
//! their sums, forward and back.
//!
//! The filters of a pair serve both directions. What a pair and its atoms bring along lies in records (see
//! [`super::records`]), so that a kernel walks along few rows.

use pulp::{Simd, WithSimd};

use super::plan::{Pair, TILE};
use super::records::{ASKED, Part, RECEIVED, filters, get_all, sent, set};
use crate::model::engine::{Finish, LANES, Lanes, Row, RowMut, dispatch, fold_lanes};

/// What the atoms send and ask, as records.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'a> {
    /// [q | k].
    pub(super) asked: &'a [f32],
    /// [s | v2 | V v1 (| V v3)].
    pub(super) sent: &'a [f32],
}

/// Gradients at [`Nodes`]; both are added to.
pub(super) struct NodesMut<'a> {
    pub(super) asked: &'a mut [f32],
    pub(super) sent: &'a mut [f32],
}

/// What both kernels know of a tile.
#[derive(Clone, Copy)]
pub(super) struct TileInput<'a> {
    /// The pairs, at most [`TILE`].
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

/// What becomes of the radial part of a tile's filters: silu(radial part + type·w + b).
pub(super) struct Activate<'a>(pub(super) TileInput<'a>);

impl Finish for Activate<'_> {
    #[inline(always)]
    fn offset<S: Simd>(&self, simd: S, column: usize) -> Lanes<S> {
        self.0.bias(simd, column)
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, row: usize, column: usize, numbers: &mut [f32]) {
        self.0.add_kind(simd, row, column, numbers);
        let width = numbers.len();
        let mut numbers = RowMut::new(simd, numbers, width);
        for k in 0..numbers.len() {
            numbers.set(k, numbers.at(k).silu());
        }
    }
}

/// Likewise on the way back, which also needs silu′, (pairs, width).
pub(super) struct ActivateWithSlope<'a> {
    /// The tile.
    pub(super) tile: TileInput<'a>,
    /// Receives it.
    pub(super) slopes: &'a mut [f32],
}

impl Finish for ActivateWithSlope<'_> {
    #[inline(always)]
    fn offset<S: Simd>(&self, simd: S, column: usize) -> Lanes<S> {
        self.tile.bias(simd, column)
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, row: usize, column: usize, numbers: &mut [f32]) {
        self.tile.add_kind(simd, row, column, numbers);
        let width = numbers.len();
        let mut slopes = RowMut::new(simd, &mut self.slopes[row * self.tile.bias.len() + column..], width);
        let mut numbers = RowMut::new(simd, numbers, width);
        for k in 0..numbers.len() {
            let (active, slope) = numbers.at(k).silu_with_slope();
            numbers.set(k, active);
            slopes.set(k, slope);
        }
    }
}

/// A number for each residue class of channels (in every lane), for the messages to either atom of each pair.
type Weights = [[[f32; LANES]; 2]; TILE];

impl TileInput<'_> {
    /// The filters' bias from a column on.
    #[inline(always)]
    fn bias<S: Simd>(&self, simd: S, column: usize) -> Lanes<S> {
        Row::new(simd, &self.bias[column..], S::F32_LANES).at(0)
    }

    /// Adds what a pair's type gives from a column on; few pairs are bonds.
    #[inline(always)]
    fn add_kind<S: Simd>(&self, simd: S, pair: usize, column: usize, numbers: &mut [f32]) {
        let kind = self.pairs[pair].kind;
        if kind != 0.0 {
            let width = numbers.len();
            let weight = Row::new(simd, &self.kind_weight[column..], width);
            let mut numbers = RowMut::new(simd, numbers, width);
            for k in 0..weight.len() {
                numbers.add(k, Lanes::splat(simd, kind) * weight.at(k));
            }
        }
    }

    /// Σ_d l_d r_d f_d of each head in every lane: l of the atom that a message goes to, r of the one it comes from, f
    /// of the pair's filters.
    #[inline(always)]
    fn head_sums<S: Simd>(&self, simd: S, l: Part<'_>, r: Part<'_>, f: Part<'_>, sums: &mut [[[f32; LANES]; 2]]) {
        for (index, (pair, [to_low, to_high])) in self.pairs.iter().zip(&mut *sums).enumerate() {
            for v in 0..LANES / S::F32_LANES {
                let (mut low, mut high) = (Lanes::splat(simd, 0.0), Lanes::splat(simd, 0.0));
                let lows = l.groups(pair.low).zip(r.groups(pair.low));
                let highs = l.groups(pair.high).zip(r.groups(pair.high));
                for (filter, ((l_low, r_low), (l_high, r_high))) in f.groups(index).zip(lows.zip(highs)) {
                    let factor = f.at(simd, filter, v);
                    low = (l.at(simd, l_low, v) * r.at(simd, r_high, v)).times_plus(factor, low);
                    high = (l.at(simd, l_high, v) * r.at(simd, r_low, v)).times_plus(factor, high);
                }
                RowMut::new(simd, to_low, LANES).set(v, low);
                RowMut::new(simd, to_high, LANES).set(v, high);
            }
        }
        for sum in sums[..self.pairs.len()].as_flattened_mut() {
            fold_lanes(simd, self.heads, sum);
        }
    }
}

/// Adds the messages of a tile to `received`, records [S | W]. `filters` (pairs, width) holds the filters;
/// `attention` (pairs, 2, LANES) receives Σ_d q k dk for the way back.
pub(super) fn send<const SO3: bool>(tile: TileInput<'_>, filters: &[f32], attention: &mut [f32], received: &mut [f32]) {
    dispatch(Send::<SO3> { tile, filters, attention, received });
}

struct Send<'a, const SO3: bool> {
    tile: TileInput<'a>,
    filters: &'a [f32],
    attention: &'a mut [f32],
    received: &'a mut [f32],
}

impl<const SO3: bool> WithSimd for Send<'_, SO3> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Send { tile: TileInput { pairs, hidden: h, bias, nodes, .. }, filters, attention, received } = self;
        let attention = attention.as_chunks_mut().0.as_chunks_mut().0;
        let part = |part| Part { records: nodes.asked, stride: ASKED * h, hidden: h, parts: ASKED, part };
        let dk = Part { records: filters, stride: bias.len(), hidden: h, parts: 1, part: 0 };
        self.tile.head_sums(simd, part(0), part(1), dk, attention);
        let mut weights: Weights = [[[0.0; LANES]; 2]; TILE];
        for ((pair, products), weights) in pairs.iter().zip(&*attention).zip(&mut weights) {
            let products = Row::new(simd, products.as_flattened(), 2 * LANES);
            let mut weights = RowMut::new(simd, weights.as_flattened_mut(), 2 * LANES);
            for k in 0..products.len() {
                weights.set(k, products.at(k).silu() * Lanes::splat(simd, pair.envelope));
            }
        }
        for ((pair, filter), weights) in pairs.iter().zip(filters.chunks_exact(bias.len())).zip(&weights) {
            let filter = &filter[h..];
            match (pair.to_low, pair.to_high) {
                (true, true) => exchange::<S, SO3, true, true>(simd, pair, nodes.sent, filter, weights, received),
                (true, false) => exchange::<S, SO3, true, false>(simd, pair, nodes.sent, filter, weights, received),
                (false, true) => exchange::<S, SO3, false, true>(simd, pair, nodes.sent, filter, weights, received),
                (false, false) => {}
            }
        }
    }
}

/// The messages of a pair, to its lower and to its higher atom.
#[inline(always)]
fn exchange<S: Simd, const SO3: bool, const LOW: bool, const HIGH: bool>(
    simd: S,
    pair: &Pair,
    nodes: &[f32],
    filter: &[f32],
    weights: &[[f32; LANES]; 2],
    received: &mut [f32],
) {
    let (sent, parts) = (sent(SO3), filters(SO3));
    let width = filter.len() / parts * sent;
    let [low, high] = ends(nodes, pair, width);
    let [to_low, to_high] = ends_mut(received, pair, filter.len() / parts * RECEIVED);
    let groups =
        filter.chunks_exact(parts * LANES).zip(low.chunks_exact(sent * LANES).zip(high.chunks_exact(sent * LANES)));
    let sums = to_low.chunks_exact_mut(RECEIVED * LANES).zip(to_high.chunks_exact_mut(RECEIVED * LANES));
    let u = pair.direction.map(|c| Lanes::splat(simd, c));
    let opposite = pair.direction.map(|c| Lanes::splat(simd, -c));
    for ((filter, (low, high)), (to_low, to_high)) in groups.zip(sums) {
        for v in 0..LANES / S::F32_LANES {
            let filter = get_all::<S, 4>(simd, filter, v);
            if LOW {
                let weight = Row::new(simd, &weights[0], LANES).at(v);
                deliver::<S, SO3>(simd, filter, get_all(simd, high, v), (u, weight), to_low, v);
            }
            if HIGH {
                let weight = Row::new(simd, &weights[1], LANES).at(v);
                deliver::<S, SO3>(simd, filter, get_all(simd, low, v), (opposite, weight), to_high, v);
            }
        }
    }
}

/// Adds a message to what its atom has received.
#[inline(always)]
fn deliver<S: Simd, const SO3: bool>(
    simd: S,
    [ds, dv1, dv2, dv3]: [Lanes<S>; 4],
    sent: [Lanes<S>; 8],
    (u, weight): ([Lanes<S>; 3], Lanes<S>),
    received: &mut [f32],
    v: usize,
) {
    let [s, v2, x, y, z, turned @ ..] = sent;
    let scaled = [x, y, z];
    let [scalar, sums @ ..] = get_all::<S, 4>(simd, received, v);
    set(simd, received, 0, v, (s * ds).times_plus(weight, scalar));
    let along = v2 * dv2;
    for axis in 0..3 {
        let mut total = scaled[axis].times_plus(dv1, u[axis].times_plus(along, sums[axis]));
        if SO3 {
            let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
            let cross = u[next] * turned[last] - u[last] * turned[next];
            total = cross.times_plus(dv3, total);
        }
        set(simd, received, 1 + axis, v, total);
    }
}

/// What [`send_back`] works on besides the tile.
pub(super) struct BackInput<'a> {
    /// (pairs, width): the filters; replaced by the gradients at the filters before their activation.
    pub(super) filters: &'a mut [f32],
    /// Their slopes, likewise.
    pub(super) slopes: &'a [f32],
    /// What [`send`] left, (pairs, 2, LANES).
    pub(super) attention: &'a [f32],
    /// The gradient at what was received, records.
    pub(super) at_received: &'a [f32],
    /// Added to: the gradients at the filters' bias and at the weight of the bond type.
    pub(super) at_bias: &'a mut [f32],
    /// See `at_bias`.
    pub(super) at_kind_weight: &'a mut [f32],
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
        let TileInput { pairs, hidden: h, bias, nodes, .. } = self.tile;
        let filters = std::mem::take(&mut self.input.filters);
        let attention = self.input.attention.as_chunks().0.as_chunks().0;
        let empty: Weights = [[[0.0; LANES]; 2]; TILE];
        let (mut weights, mut at_products) = (empty, empty);
        let (parts, sent) = (self::filters(SO3), sent(SO3));
        let at_sums =
            Part { records: self.input.at_received, stride: RECEIVED * h, hidden: h, parts: RECEIVED, part: 0 };
        let s = Part { records: nodes.sent, stride: sent * h, hidden: h, parts: sent, part: 0 };
        let ds = Part { records: &filters[h..], stride: bias.len(), hidden: h, parts, part: 0 };
        self.tile.head_sums(simd, at_sums, s, ds, &mut at_products);
        for (((pair, products), weights), at_products) in
            pairs.iter().zip(attention).zip(&mut weights).zip(&mut at_products)
        {
            attend_back(simd, products, pair.envelope, weights, at_products);
        }
        let rows = filters.chunks_exact_mut(bias.len()).zip(self.input.slopes.chunks_exact(bias.len()));
        for ((pair, (filter, slope)), weights) in pairs.iter().zip(rows).zip(weights.iter().zip(&at_products)) {
            match (pair.to_low, pair.to_high) {
                (true, true) => self.exchange::<S, true, true>(simd, pair, filter, slope, weights),
                (true, false) => self.exchange::<S, true, false>(simd, pair, filter, slope, weights),
                (false, true) => self.exchange::<S, false, true>(simd, pair, filter, slope, weights),
                (false, false) => filter.fill(0.0),
            }
            self.parameters(simd, pair, filter);
        }
    }
}

/// Two numbers for each residue class of channels.
type Two<'a> = &'a [[f32; LANES]; 2];

impl<const SO3: bool> SendBack<'_, SO3> {
    /// Back through the messages of a pair. Replaces the filters by the gradients before their activation.
    #[inline(always)]
    fn exchange<S: Simd, const LOW: bool, const HIGH: bool>(
        &mut self,
        simd: S,
        pair: &Pair,
        filter: &mut [f32],
        slope: &[f32],
        (weights, at_products): (Two<'_>, Two<'_>),
    ) {
        let (dk, filter) = filter.split_at_mut(self.tile.hidden);
        let (dk_slope, slope) = slope.split_at(self.tile.hidden);
        self.asked::<S, LOW, HIGH>(simd, pair, dk, dk_slope, at_products);
        self.sent::<S, LOW, HIGH>(simd, pair, filter, slope, weights);
    }

    /// Back through Σ_d q k dk.
    #[inline(always)]
    fn asked<S: Simd, const LOW: bool, const HIGH: bool>(
        &mut self,
        simd: S,
        pair: &Pair,
        dk: &mut [f32],
        slope: &[f32],
        at_products: Two<'_>,
    ) {
        let width = ASKED * dk.len();
        let [low, high] = ends(self.tile.nodes.asked, pair, width);
        let [at_low, at_high] = ends_mut(self.at_nodes.asked, pair, width);
        let nodes = low.chunks_exact(ASKED * LANES).zip(high.chunks_exact(ASKED * LANES));
        let at_nodes = at_low.chunks_exact_mut(ASKED * LANES).zip(at_high.chunks_exact_mut(ASKED * LANES));
        let filters = dk.chunks_exact_mut(LANES).zip(slope.chunks_exact(LANES));
        for (((dk, slope), (low, high)), (at_low, at_high)) in filters.zip(nodes).zip(at_nodes) {
            for v in 0..LANES / S::F32_LANES {
                let at = |numbers: &[f32]| Row::new(simd, numbers, LANES).at(v);
                let [q_low, k_low] = get_all::<S, 2>(simd, low, v);
                let [q_high, k_high] = get_all::<S, 2>(simd, high, v);
                let [at_q_low, at_k_low] = get_all::<S, 2>(simd, at_low, v);
                let [at_q_high, at_k_high] = get_all::<S, 2>(simd, at_high, v);
                let (factor, mut at_dk) = (Row::new(simd, dk, LANES).at(v), Lanes::splat(simd, 0.0));
                if LOW {
                    let t = at(&at_products[0]);
                    let (to_query, to_key) = (t * q_low, t * factor);
                    at_dk = to_query.times_plus(k_high, at_dk);
                    set(simd, at_low, 0, v, to_key.times_plus(k_high, at_q_low));
                    set(simd, at_high, 1, v, to_key.times_plus(q_low, at_k_high));
                }
                if HIGH {
                    let t = at(&at_products[1]);
                    let (to_query, to_key) = (t * q_high, t * factor);
                    at_dk = to_query.times_plus(k_low, at_dk);
                    set(simd, at_high, 0, v, to_key.times_plus(k_low, at_q_high));
                    set(simd, at_low, 1, v, to_key.times_plus(q_high, at_k_low));
                }
                RowMut::new(simd, dk, LANES).set(v, at_dk * at(slope));
            }
        }
    }

    /// Back through the scalar and vector messages.
    #[inline(always)]
    fn sent<S: Simd, const LOW: bool, const HIGH: bool>(
        &mut self,
        simd: S,
        pair: &Pair,
        filter: &mut [f32],
        slope: &[f32],
        weights: Two<'_>,
    ) {
        let (sent, parts, h) = (sent(SO3), filters(SO3), self.tile.hidden);
        let [low, high] = ends(self.tile.nodes.sent, pair, sent * h);
        let [to_low, to_high] = ends(self.input.at_received, pair, RECEIVED * h);
        let [at_low, at_high] = ends_mut(self.at_nodes.sent, pair, sent * h);
        let filters = filter.chunks_exact_mut(parts * LANES).zip(slope.chunks_exact(parts * LANES));
        let nodes = low.chunks_exact(sent * LANES).zip(high.chunks_exact(sent * LANES));
        let sums = to_low.chunks_exact(RECEIVED * LANES).zip(to_high.chunks_exact(RECEIVED * LANES));
        let at_nodes = at_low.chunks_exact_mut(sent * LANES).zip(at_high.chunks_exact_mut(sent * LANES));
        let u = pair.direction.map(|c| Lanes::splat(simd, c));
        let opposite = pair.direction.map(|c| Lanes::splat(simd, -c));
        for ((((filter, slope), (low, high)), (to_low, to_high)), (at_low, at_high)) in
            filters.zip(nodes).zip(sums).zip(at_nodes)
        {
            for v in 0..LANES / S::F32_LANES {
                let factors = get_all::<S, 4>(simd, filter, v);
                let slopes = get_all::<S, 4>(simd, slope, v);
                let mut at_filter = [Lanes::splat(simd, 0.0); 4];
                if LOW {
                    let along = (u, Row::new(simd, &weights[0], LANES).at(v));
                    let (sent, received) = (get_all(simd, high, v), get_all(simd, to_low, v));
                    deliver_back::<S, SO3>(simd, factors, sent, along, received, (at_high, &mut at_filter), v);
                }
                if HIGH {
                    let along = (opposite, Row::new(simd, &weights[1], LANES).at(v));
                    let (sent, received) = (get_all(simd, low, v), get_all(simd, to_high, v));
                    deliver_back::<S, SO3>(simd, factors, sent, along, received, (at_low, &mut at_filter), v);
                }
                for part in 0..parts {
                    set(simd, filter, part, v, at_filter[part] * slopes[part]);
                }
            }
        }
    }

    /// Adds to the gradients at the bias and at the weight of the bond type.
    #[inline(always)]
    fn parameters<S: Simd>(&mut self, simd: S, pair: &Pair, at_filter: &[f32]) {
        let width = at_filter.len();
        let at_filter = Row::new(simd, at_filter, width);
        let mut at_bias = RowMut::new(simd, self.input.at_bias, width);
        for k in 0..at_filter.len() {
            at_bias.add(k, at_filter.at(k));
        }
        if pair.kind != 0.0 {
            let mut at_kind = RowMut::new(simd, self.input.at_kind_weight, width);
            for k in 0..at_filter.len() {
                at_kind.set(k, Lanes::splat(simd, pair.kind).times_plus(at_filter.at(k), at_kind.at(k)));
            }
        }
    }
}

/// Back through [`deliver`]: adds to the gradients at what was sent and at the filters.
#[inline(always)]
fn deliver_back<S: Simd, const SO3: bool>(
    simd: S,
    [ds, dv1, dv2, dv3]: [Lanes<S>; 4],
    sent: [Lanes<S>; 8],
    (u, weight): ([Lanes<S>; 3], Lanes<S>),
    at_received: [Lanes<S>; 4],
    (at_sent, at_filter): (&mut [f32], &mut [Lanes<S>; 4]),
    v: usize,
) {
    let [s, v2, x, y, z, turned @ ..] = sent;
    let scaled = [x, y, z];
    let [at_scalar, g @ ..] = at_received;
    let [at_s, at_v2, at_x, at_y, at_z, at_turned @ ..] = get_all::<S, 8>(simd, at_sent, v);
    let at_scaled = [at_x, at_y, at_z];
    let t = at_scalar * weight;
    at_filter[0] = t.times_plus(s, at_filter[0]);
    set(simd, at_sent, 0, v, t.times_plus(ds, at_s));
    for axis in 0..3 {
        at_filter[1] = g[axis].times_plus(scaled[axis], at_filter[1]);
        set(simd, at_sent, 2 + axis, v, g[axis].times_plus(dv1, at_scaled[axis]));
    }
    let along = g[2].times_plus(u[2], g[1].times_plus(u[1], g[0] * u[0]));
    at_filter[2] = along.times_plus(v2, at_filter[2]);
    set(simd, at_sent, 1, v, along.times_plus(dv2, at_v2));
    if SO3 {
        for axis in 0..3 {
            let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
            // The component of g × u: ⟨g, u × V⟩ = ⟨V, g × u⟩.
            let across = g[next] * u[last] - g[last] * u[next];
            at_filter[3] = across.times_plus(turned[axis], at_filter[3]);
            set(simd, at_sent, 5 + axis, v, across.times_plus(dv3, at_turned[axis]));
        }
    }
}

/// silu(α) C for both directions of a pair; `at_products` holds the gradient at it and receives that at α.
#[inline(always)]
fn attend_back<S: Simd>(
    simd: S,
    products: Two<'_>,
    envelope: f32,
    weights: &mut [[f32; LANES]; 2],
    at_products: &mut [[f32; LANES]; 2],
) {
    let products = Row::new(simd, products.as_flattened(), 2 * LANES);
    let mut weights = RowMut::new(simd, weights.as_flattened_mut(), 2 * LANES);
    let mut at = RowMut::new(simd, at_products.as_flattened_mut(), 2 * LANES);
    let envelope = Lanes::splat(simd, envelope);
    for k in 0..products.len() {
        let (active, slope) = products.at(k).silu_with_slope();
        weights.set(k, active * envelope);
        at.set(k, at.at(k) * envelope * slope);
    }
}

/// The records of a pair's lower and higher atom.
#[inline(always)]
fn ends<'a>(records: &'a [f32], pair: &Pair, width: usize) -> [&'a [f32]; 2] {
    [&records[pair.low * width..][..width], &records[pair.high * width..][..width]]
}

/// Likewise, to be written to.
#[inline(always)]
fn ends_mut<'a>(records: &'a mut [f32], pair: &Pair, width: usize) -> [&'a mut [f32]; 2] {
    let (front, back) = records.split_at_mut(pair.high * width);
    [&mut front[pair.low * width..][..width], &mut back[..width]]
}
