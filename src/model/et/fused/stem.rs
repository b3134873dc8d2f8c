//! Before the layers: radial functions, elements, atom features, and the first look at the neighbours.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::context::{Context, Embedded, at_bias, norm_back};
use super::plan::{Pair, Plan};
use super::tape::{AtEmbedded, Scratch};
use crate::model::engine::{
    Band, Buffer, Gradients, Keep, LANES, Lanes, Matrix, Row, RowMut, Store, Weights, add_bias, add_bias_silu,
    dispatch, layer_norm, silu_back,
};
use crate::model::et::stem::Stem;

/// A radial function e^−y with y beyond this, below 4e-8, is taken to be 0: less than the rounding of 1 in f32, and
/// one of the functions that it is added to is near the envelope itself.
const NEGLIGIBLE: f32 = 17.0;

/// The radial functions of all pairs. A pair's distance lies within the width of few of them: those of a tile,
/// whose pairs are near each other in distance, are a band.
#[derive(Debug, Default)]
pub(super) struct Radial {
    functions: Buffer,
    /// Numbers in a row: K, padded.
    pub(super) stride: usize,
    /// Outside these columns a tile's rows are zero.
    pub(super) bands: Vec<Range<usize>>,
}

impl Radial {
    /// The rows of a tile, (pairs, padded K).
    pub(super) fn tile(&self, plan: &Plan, tile: usize) -> Band<'_> {
        let (pairs, stride) = (plan.tiles[tile].pairs.clone(), self.stride);
        Band { rows: &self.functions[pairs.start * stride..pairs.end * stride], stride, band: self.bands[tile].clone() }
    }

    /// C(D) exp(−β_k (exp(−5 D/cutoff) − μ_k)²) for all pairs.
    fn set(&mut self, plan: &Plan, means: &[f32], betas: &[f32]) {
        self.stride = means.len().next_multiple_of(LANES);
        self.functions.zeros(plan.pairs.len() * self.stride);
        self.bands.clear();
        let exponent = |pair: &Pair, k: usize| betas[k] * (pair.decay - means[k]).powi(2);
        for tile in &plan.tiles {
            let pairs = &plan.pairs[tile.pairs.clone()];
            // Written so that what is not a number counts.
            #[expect(clippy::neg_cmp_op_on_partial_ord)]
            let counts = |k: usize| pairs.iter().any(|pair| !(exponent(pair, k) > NEGLIGIBLE) && pair.envelope != 0.0);
            let first = (0..means.len()).find(|&k| counts(k)).unwrap_or(0);
            let end = (first..means.len()).rev().find(|&k| counts(k)).map_or(first, |last| last + 1);
            for (pair, row) in
                pairs.iter().zip(self.functions[tile.pairs.start * self.stride..].chunks_mut(self.stride))
            {
                for k in first..end {
                    row[k] = (-exponent(pair, k)).exp() * pair.envelope;
                }
            }
            self.bands.push(first..end);
        }
    }

    /// Adds the gradients at μ and β, given that at the functions.
    fn back(&self, plan: &Plan, at_functions: &[f32], (means, betas): (&[f32], &[f32]), at: [&mut [f32]; 2]) {
        let [at_means, at_betas] = at;
        for (tile, band) in plan.tiles.iter().zip(&self.bands) {
            for index in tile.pairs.clone() {
                let start = index * self.stride;
                for k in band.clone() {
                    let offset = plan.pairs[index].decay - means[k];
                    let g = at_functions[start + k] * self.functions[start + k];
                    at_betas[k] -= g * offset * offset;
                    at_means[k] += g * 2.0 * betas[k] * offset;
                }
            }
        }
    }
}

/// What the stem leaves for the layers and for the way back.
#[derive(Debug, Default)]
pub(super) struct StemTape {
    pub(super) radial: Radial,
    /// The embedded features a of each kind of atom, (kinds, H).
    pub(super) kinds: Buffer,
    elements: Buffer,
    neighbours: Buffer,
    before: Buffer,
    normal: Buffer,
    scale: Buffer,
    normed: Buffer,
}

impl StemTape {
    pub(super) fn embedded(&self) -> Embedded<'_> {
        Embedded { kinds: &self.kinds, radial: &self.radial }
    }
}

/// x (N, H) that enters layer 0. `matrix` is the packed filter of the neighbours, (K + 2, H).
pub(super) fn forward(
    stem: &Stem,
    context: Context<'_>,
    matrix: &[f32],
    tape: &mut StemTape,
    x: &mut Buffer,
    scratch: &mut Scratch,
) {
    let (plan, h, w) = (context.plan, context.config.hidden, context.weights);
    let n = plan.len();
    tape.radial.set(plan, w.get(stem.means), w.get(stem.betas));
    let elements = tape.elements.resize(n * h);
    for (row, &z) in elements.chunks_exact_mut(h).zip(&plan.elements) {
        row.copy_from_slice(&w.get(stem.element)[z * h..][..h]);
    }
    let neighbours = tape.neighbours.zeros(n * h);
    for (index, tile) in plan.tiles.iter().enumerate() {
        context.radial_part(&tape.radial, index, (matrix, h), Keep, &mut scratch.filters);
        dispatch(Listen {
            look: Look::new(context, stem, matrix, &plan.pairs[tile.pairs.clone()]),
            filters: &scratch.filters,
            neighbours,
        });
    }
    let combine = Matrix::new(w.get(stem.combine.weight), 2 * h);
    let x = x.resize(n * h);
    context.products.multiply(x, h, Store::Replace, Matrix::new(elements, h), combine.columns(0..h).t());
    context.products.multiply(x, h, Store::Add, Matrix::new(neighbours, h), combine.columns(h..2 * h).t());
    add_bias(x, w.get(stem.combine.bias));

    let [first, second] = &stem.features;
    let kinds = plan.features.len();
    context.linear(plan.features.as_flattened(), w.get(first.weight), h, &mut tape.before);
    add_bias_silu(&mut tape.before, w.get(first.bias), tape.normal.resize(kinds * h));
    let (norm, nothing) = (w.norm(&stem.features_norm), scratch.row.zeros(h));
    layer_norm(&mut tape.normal, nothing, norm, tape.scale.resize(kinds), tape.normed.resize(kinds * h));
    context.linear(&tape.normed, w.get(second.weight), h, &mut tape.kinds);
    add_bias(&mut tape.kinds, w.get(second.bias));
}

/// The stem on the way back.
pub(super) struct StemBack<'a, 'g> {
    pub(super) stem: &'a Stem,
    pub(super) context: Context<'a>,
    /// The packed filter of the neighbours.
    pub(super) matrix: &'a [f32],
    pub(super) tape: &'a StemTape,
    pub(super) gradients: &'a mut Gradients<'g>,
    pub(super) at_embedded: &'a mut AtEmbedded,
    pub(super) scratch: &'a mut Scratch,
}

impl StemBack<'_, '_> {
    /// The gradients at the stem's parameters, given those at x and (in `at_embedded`) at what all layers shared.
    pub(super) fn run(mut self, at_x: &[f32]) {
        let Self { stem, context, tape, .. } = self;
        if self.gradients.store == Store::Replace {
            for index in [stem.element, stem.neighbour_element, stem.means, stem.betas] {
                self.gradients.get(index).fill(0.0);
            }
        }
        self.features_back();
        self.combine_back(at_x);
        self.neighbours_back();
        let [at_means, at_betas] = self.gradients.two(stem.means, stem.betas);
        let parameters = (context.weights.get(stem.means), context.weights.get(stem.betas));
        tape.radial.back(context.plan, &self.at_embedded.radial, parameters, [at_means, at_betas]);
    }

    /// Back through the embedding of the atom features.
    fn features_back(&mut self) {
        let Self { stem, context, tape, ref mut gradients, ref at_embedded, ref mut scratch, .. } = *self;
        let (plan, h, w, store) = (context.plan, context.config.hidden, context.weights, gradients.store);
        let [first, second] = &stem.features;
        context.at_weight(&at_embedded.kinds, &tape.normed, h, gradients.get(second.weight), store);
        at_bias(&at_embedded.kinds, gradients.get(second.bias), store);
        let d = scratch.natural.resize(plan.features.len() * h);
        context.linear_back(&at_embedded.kinds, w.get(second.weight), h, d, Store::Replace);
        let norm = &stem.features_norm;
        norm_back(d, &tape.normal, &tape.scale, w.get(norm.weight), gradients.norm(norm), store);
        silu_back(d, &tape.before, h);
        context.at_weight(d, plan.features.as_flattened(), h, gradients.get(first.weight), store);
        at_bias(d, gradients.get(first.bias), store);
    }

    /// Back through the combination of elements and neighbours; the gradient at the latter into `scratch.natural`.
    fn combine_back(&mut self, at_x: &[f32]) {
        let Self { stem, context, tape, ref mut gradients, ref mut scratch, .. } = *self;
        let (plan, h, store, products) = (context.plan, context.config.hidden, gradients.store, context.products);
        let g = Matrix::new(at_x, h);
        let at_combine = gradients.get(stem.combine.weight);
        products.multiply(at_combine, 2 * h, store, g.t(), Matrix::new(&tape.elements, h));
        products.multiply(&mut at_combine[h..], 2 * h, store, g.t(), Matrix::new(&tape.neighbours, h));
        at_bias(at_x, gradients.get(stem.combine.bias), store);
        let combine = Matrix::new(context.weights.get(stem.combine.weight), 2 * h);
        let at_elements = scratch.natural.resize(plan.len() * h);
        products.multiply(at_elements, h, Store::Replace, g, combine.columns(0..h));
        let table = gradients.get(stem.element);
        for (row, &z) in at_elements.chunks_exact(h).zip(&plan.elements) {
            table[z * h..][..h].iter_mut().zip(row).for_each(|(slot, g)| *slot += g);
        }
        products.multiply(at_elements, h, Store::Replace, g, combine.columns(h..2 * h));
    }

    /// Back through the sums over neighbours.
    fn neighbours_back(&mut self) {
        let Self { stem, context, matrix, tape, ref mut gradients, ref mut at_embedded, ref mut scratch } = *self;
        let (plan, h, k, store) = (context.plan, context.config.hidden, context.config.rbf, gradients.store);
        let at_matrix = scratch.at_filters.zeros((k + 2) * h);
        let (at_weights, rest) = at_matrix.split_at_mut(k * h);
        let (at_kind, at_bias) = rest.split_at_mut(h);
        for (index, tile) in plan.tiles.iter().enumerate() {
            context.radial_part(&tape.radial, index, (matrix, h), Keep, &mut scratch.filters);
            dispatch(ListenBack {
                look: Look::new(context, stem, matrix, &plan.pairs[tile.pairs.clone()]),
                filters: &mut scratch.filters,
                at_neighbours: &scratch.natural,
                at_elements: gradients.get(stem.neighbour_element),
                at_bias,
                at_kind,
            });
            let (filters, at_radial) = (&scratch.filters, &mut at_embedded.radial);
            context.radial_back(&tape.radial, index, (matrix, h), filters, at_weights, at_radial);
        }
        let [weight, bias] = gradients.two(stem.neighbour_filter.weight, stem.neighbour_filter.bias);
        let put = |slot: &mut f32, number: f32| *slot = if store == Store::Add { *slot + number } else { number };
        for column in 0..h {
            for (row, slot) in weight[column * (k + 1)..][..k + 1].iter_mut().enumerate() {
                put(slot, at_matrix[row * h + column]);
            }
            put(&mut bias[column], at_matrix[(k + 1) * h + column]);
        }
    }
}

/// Writes the packed filter of the neighbours, (K + 2, H).
pub(super) fn pack(stem: &Stem, weights: Weights<'_>, packed: &mut Buffer) {
    let (weight, bias) = (weights.get(stem.neighbour_filter.weight), weights.get(stem.neighbour_filter.bias));
    let (h, inputs) = (bias.len(), weight.len() / bias.len());
    let matrix = packed.resize((inputs + 1) * h);
    for column in 0..h {
        for row in 0..inputs {
            matrix[row * h + column] = weight[column * inputs + row];
        }
        matrix[inputs * h + column] = bias[column];
    }
}

/// What is looked at in a tile of neighbours.
struct Look<'a> {
    pairs: &'a [Pair],
    elements: &'a [usize],
    table: &'a [f32],
    kind_weight: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Look<'a> {
    fn new(context: Context<'a>, stem: &Stem, matrix: &'a [f32], pairs: &'a [Pair]) -> Self {
        let (h, k) = (context.config.hidden, context.config.rbf);
        Look {
            pairs,
            elements: &context.plan.elements,
            table: context.weights.get(stem.neighbour_element),
            kind_weight: &matrix[k * h..][..h],
            bias: &matrix[(k + 1) * h..][..h],
        }
    }

    /// The directions of a pair, as (target, source).
    #[inline(always)]
    fn directions(pair: &Pair) -> impl Iterator<Item = (usize, usize)> + use<> {
        let low = pair.to_low.then_some((pair.low, pair.high));
        low.into_iter().chain(pair.to_high.then_some((pair.high, pair.low)))
    }
}

/// neighbours_i += e_j (W f + b) C.
struct Listen<'a> {
    look: Look<'a>,
    filters: &'a [f32],
    neighbours: &'a mut [f32],
}

impl WithSimd for Listen<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let look = self.look;
        let h = look.bias.len();
        let (bias, weight) = (Row::new(simd, look.bias, h), Row::new(simd, look.kind_weight, h));
        for (pair, filter) in look.pairs.iter().zip(self.filters.chunks_exact(h)) {
            let filter = Row::new(simd, filter, h);
            let (kind, envelope) = (Lanes::splat(simd, pair.kind), Lanes::splat(simd, pair.envelope));
            for (target, source) in Look::directions(pair) {
                let element = Row::new(simd, &look.table[look.elements[source] * h..], h);
                let mut sum = RowMut::new(simd, &mut self.neighbours[target * h..], h);
                for k in 0..bias.len() {
                    let value = (filter.at(k) + kind.times_plus(weight.at(k), bias.at(k))) * envelope;
                    sum.set(k, value.times_plus(element.at(k), sum.at(k)));
                }
            }
        }
    }
}

/// The way back: `filters` become the gradients at W f + b.
struct ListenBack<'a> {
    look: Look<'a>,
    filters: &'a mut [f32],
    at_neighbours: &'a [f32],
    at_elements: &'a mut [f32],
    at_bias: &'a mut [f32],
    at_kind: &'a mut [f32],
}

impl WithSimd for ListenBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let look = self.look;
        let h = look.bias.len();
        let (bias, weight) = (Row::new(simd, look.bias, h), Row::new(simd, look.kind_weight, h));
        let (mut at_bias, mut at_kind) = (RowMut::new(simd, self.at_bias, h), RowMut::new(simd, self.at_kind, h));
        for (pair, filter) in look.pairs.iter().zip(self.filters.chunks_exact_mut(h)) {
            let mut filter = RowMut::new(simd, filter, h);
            let (kind, envelope) = (Lanes::splat(simd, pair.kind), Lanes::splat(simd, pair.envelope));
            for k in 0..bias.len() {
                let value = (filter.at(k) + kind.times_plus(weight.at(k), bias.at(k))) * envelope;
                let mut at_value = Lanes::splat(simd, 0.0);
                for (target, source) in Look::directions(pair) {
                    let g = Row::new(simd, &self.at_neighbours[target * h..], h).at(k);
                    let row = look.elements[source] * h;
                    at_value = g.times_plus(Row::new(simd, &look.table[row..], h).at(k), at_value);
                    let mut at_element = RowMut::new(simd, &mut self.at_elements[row..], h);
                    at_element.set(k, g.times_plus(value, at_element.at(k)));
                }
                let g = at_value * envelope;
                filter.set(k, g);
                at_bias.add(k, g);
                at_kind.set(k, g.times_plus(kind, at_kind.at(k)));
            }
        }
    }
}
