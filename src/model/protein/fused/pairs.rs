//! Pairs of residues, from their bins to the attention biases of all layers and heads, in tiles that stay in the cache.
//!
//! z = Σ rows of the table; u = w ∘ LN(z) + b; v = a ∘ LN(u) + β with the chain's gain a and shift β; biases M LN(v),
//! where M (layers · h, p) are the projections to biases times the gains of the layers' norms. Their shifts add the same
//! number to all biases of a head, which the softmax does not see: they have no gradient.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::conditions::{Normalised, zeroed};
use super::context::Context;
use super::plan::Segment;
use super::tape::{PairsTape, Scratch};
use crate::model::engine::{
    Buffer, Gradients, LayerNorm, Matrix, Store, Strip, StripMut, Weights, affine_rows, affine_rows_back, dispatch,
    normalise, normalise_back, normalise_rows, normalise_rows_back, thin_at_weight, thin_product,
};
use crate::model::protein::ProteinConfig;
use crate::model::protein::blueprint::{BiasParts, PairParts, StemParts};

/// Pairs of a tile: few enough that its arrays and the table stay in the second-level cache.
const TILE: usize = 64;

/// Parameters as the tiles want them.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// The projection of the pair features, transposed: (bins, p).
    table: Buffer,
    /// M, (layers · h, p).
    matrix: Buffer,
}

impl Packed {
    pub(super) fn set(&mut self, parts: &StemParts, config: &ProteinConfig, weights: Weights<'_>) {
        let (features, p) = (config.pair_features(), config.pair);
        let table = self.table.resize(features * p);
        for (channel, row) in weights.get(parts.pairs.projection.weight).chunks_exact(features).enumerate() {
            row.iter().enumerate().for_each(|(bin, &number)| table[bin * p + channel] = number);
        }
        let each = config.heads * p;
        let matrix = self.matrix.resize(parts.biases.len() * each);
        for (parts, matrix) in parts.biases.iter().zip(matrix.chunks_exact_mut(each)) {
            let (projection, gain) = (weights.get(parts.projection.weight), weights.get(parts.norm.weight));
            matrix.iter_mut().zip(projection).enumerate().for_each(|(at, (to, x))| *to = x * gain[at % p]);
        }
    }
}

/// The pairs of a batch.
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    pub(super) context: Context<'a>,
    pub(super) parts: &'a PairParts,
    pub(super) packed: &'a Packed,
}

/// The three norms of a tile of pairs.
struct Tile<'a> {
    normals: [&'a mut [f32]; 3],
    scales: [&'a mut [f32]; 3],
}

impl Pairs<'_> {
    /// All attention biases: see [`PairsTape::biases`].
    pub(super) fn forward(self, tape: &mut PairsTape, scratch: &mut Scratch) {
        self.condition(tape);
        let Context { config, plan, .. } = self.context;
        let outputs = config.layers * config.heads;
        tape.biases.resize(plan.pairs() * outputs);
        for (chain, segment) in plan.segments.iter().enumerate() {
            let (count, first) = (segment.pairs.len(), segment.pairs.start * outputs);
            let rows = &tape.adaptive.rows[chain * 2 * config.pair..][..2 * config.pair];
            for start in (0..count).step_by(TILE) {
                let range = start..(start + TILE).min(count);
                self.embed(segment, range.clone(), rows, tile(scratch, range.len(), config.pair));
                let pairs = Matrix::new(&scratch.tiles[2], config.pair);
                let biases = &mut tape.biases[first + start..];
                let matrix = Matrix::new(&self.packed.matrix, config.pair);
                self.context.exact().multiply(biases, count, Store::Replace, matrix, pairs.t());
            }
        }
    }

    /// The gains and shifts of each chain.
    fn condition(self, tape: &mut PairsTape) {
        let Self { context, parts, .. } = self;
        let Context { config, weights: w, plan, .. } = context;
        let (c, chains) = (config.condition, plan.len());
        let normal = tape.time_normal.resize(chains * c);
        thin_product(&plan.times, w.get(parts.condition.weight), config.time, normal);
        normalise_rows(normal, c, tape.time_scale.resize(chains));
        affine_rows(normal, w.norm(&parts.condition_norm), tape.time.resize(chains * c));
        tape.normal.resize(chains * c).copy_from_slice(&tape.time);
        normalise_rows(&mut tape.normal, c, tape.scale.resize(chains));
        tape.adaptive.forward(&parts.adaptive, context, Normalised { rows: &tape.normal, width: c });
    }

    /// The norms of some of a chain's pairs, given [gain | shift].
    fn embed(self, segment: &Segment, range: Range<usize>, rows: &[f32], tile: Tile<'_>) {
        let bins = &self.context.plan.bins[segment.pairs.clone()][range];
        let norm = self.context.weights.norm(&self.parts.norm);
        let width = self.context.config.pair;
        let (table, (gain, shift)) = (&self.packed.table, rows.split_at(width));
        dispatch(Embed { bins, fed_back: segment.fed_back, table, width, norm, gain, shift, tile });
    }

    /// From the gradients at the biases to all parameters of the pairs.
    pub(super) fn back(
        self,
        biases: &[BiasParts],
        gradients: &mut Gradients<'_>,
        tape: &mut PairsTape,
        scratch: &mut Scratch,
    ) {
        let Context { config, plan, .. } = self.context;
        let (p, outputs) = (config.pair, config.layers * config.heads);
        scratch.at_matrix.zeros(outputs * p);
        scratch.at_table.zeros(config.pair_features() * p);
        tape.adaptive.at_rows.zeros(plan.len() * 2 * p);
        let at_norm = zeroed(gradients.norm(&self.parts.norm));
        let mut at_norm = [at_norm.weight, at_norm.bias];
        for (chain, segment) in plan.segments.iter().enumerate() {
            let (count, first) = (segment.pairs.len(), segment.pairs.start * outputs);
            for start in (0..count).step_by(TILE) {
                let range = start..(start + TILE).min(count);
                let rows = &tape.adaptive.rows[chain * 2 * p..][..2 * p];
                self.embed(segment, range.clone(), rows, tile(scratch, range.len(), p));
                let at_biases = &tape.biases[first..first + outputs * count];
                let at_biases = Matrix::new(at_biases, count).columns(range.clone());
                let normal = Matrix::new(&scratch.tiles[2], p);
                self.context.exact().multiply(&mut scratch.at_matrix, p, Store::Add, at_biases, normal);
                let d = scratch.tiles[3].resize(range.len() * p);
                let matrix = Matrix::new(&self.packed.matrix, p);
                self.context.exact().multiply(d, p, Store::Replace, at_biases.t(), matrix);
                let at_rows = &mut tape.adaptive.at_rows[chain * 2 * p..][..2 * p];
                self.embed_back(segment, range, (&rows[..p], at_rows), &mut at_norm, scratch);
            }
        }
        self.unpack(biases, gradients, scratch);
        self.condition_back(gradients, tape, scratch);
    }

    /// From the gradient at the last norm of some of a chain's pairs, in the last of the tiles, to the table.
    fn embed_back(
        self,
        segment: &Segment,
        range: Range<usize>,
        (gain, at_rows): (&[f32], &mut [f32]),
        at_norm: &mut [&mut [f32]; 2],
        scratch: &mut Scratch,
    ) {
        let [first, second, third, d] = &mut scratch.tiles;
        dispatch(EmbedBack {
            bins: &self.context.plan.bins[segment.pairs.clone()][range],
            fed_back: segment.fed_back,
            width: self.context.config.pair,
            d,
            normals: [first, second, third],
            scales: scratch.scales.each_ref().map(|scales| &**scales),
            weight: self.context.weights.get(self.parts.norm.weight),
            at_norm: at_norm.each_mut().map(|at| &mut **at),
            gain,
            at_rows,
            at_table: &mut scratch.at_table,
        });
    }

    /// From the gradients at the packed parameters to the parameters themselves.
    fn unpack(self, biases: &[BiasParts], gradients: &mut Gradients<'_>, scratch: &Scratch) {
        let Context { config, weights, .. } = self.context;
        let (features, p) = (config.pair_features(), config.pair);
        for (channel, row) in gradients.get(self.parts.projection.weight).chunks_exact_mut(features).enumerate() {
            row.iter_mut().enumerate().for_each(|(bin, to)| *to = scratch.at_table[bin * p + channel]);
        }
        for (parts, at_matrix) in biases.iter().zip(scratch.at_matrix.chunks_exact(config.heads * p)) {
            let (projection, gain) = (weights.get(parts.projection.weight), weights.get(parts.norm.weight));
            let at_projection = gradients.get(parts.projection.weight);
            at_projection.iter_mut().zip(at_matrix).enumerate().for_each(|(at, (to, g))| *to = g * gain[at % p]);
            let at_gain = zeroed(gradients.norm(&parts.norm)).weight;
            at_matrix.iter().zip(projection).enumerate().for_each(|(at, (g, x))| at_gain[at % p] += g * x);
        }
    }

    /// From the gradients at the gains and shifts to the parameters of the pairs' conditioning.
    fn condition_back(self, gradients: &mut Gradients<'_>, tape: &mut PairsTape, scratch: &mut Scratch) {
        let Self { context, parts, .. } = self;
        let Context { config, weights: w, plan, .. } = context;
        let c = config.condition;
        let mut at = std::mem::take(&mut scratch.rows[1]);
        at.zeros(plan.len() * c);
        let given = Normalised { rows: &tape.normal, width: c };
        tape.adaptive.back(&parts.adaptive, context, gradients, given, &mut at, scratch);
        normalise_rows_back(&mut at, &tape.normal, &tape.scale, c);
        let at_norm = zeroed(gradients.norm(&parts.condition_norm));
        affine_rows_back(&mut at, &tape.time_normal, w.get(parts.condition_norm.weight), at_norm);
        normalise_rows_back(&mut at, &tape.time_normal, &tape.time_scale, c);
        let at_weight = gradients.get(parts.condition.weight);
        thin_at_weight(&at, &plan.times, config.time, Store::Replace, at_weight);
        scratch.rows[1] = at;
    }
}

/// Room for a tile.
fn tile(scratch: &mut Scratch, pairs: usize, width: usize) -> Tile<'_> {
    let [first, second, third, _] = &mut scratch.tiles;
    Tile {
        normals: [first, second, third].map(|tile| tile.resize(pairs * width)),
        scales: scratch.scales.each_mut().map(|scales| scales.resize(pairs)),
    }
}

struct Embed<'a> {
    bins: &'a [[u16; 3]],
    fed_back: bool,
    table: &'a [f32],
    width: usize,
    norm: LayerNorm<&'a [f32]>,
    gain: &'a [f32],
    shift: &'a [f32],
    tile: Tile<'a>,
}

impl WithSimd for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, Tile { normals: [first, second, third], scales }) = (self.width, self.tile);
        let row = |bin: u16| Strip::new(simd, &self.table[usize::from(bin) * width..][..width]);
        let (weight, bias) = (Strip::new(simd, self.norm.weight), Strip::new(simd, self.norm.bias));
        let (gain, shift) = (Strip::new(simd, self.gain), Strip::new(simd, self.shift));
        for (pair, &[separation, fed_back, distance]) in self.bins.iter().enumerate() {
            let place = pair * width..(pair + 1) * width;
            let mut normal = StripMut::new(simd, &mut first[place.clone()]);
            let (separation, distance) = (row(separation), row(distance));
            if self.fed_back {
                let fed_back = row(fed_back);
                for k in 0..normal.len() {
                    normal.set(k, separation.at(k) + fed_back.at(k) + distance.at(k));
                }
            } else {
                for k in 0..normal.len() {
                    normal.set(k, separation.at(k) + distance.at(k));
                }
            }
            scales[0][pair] = normalise(simd, &mut normal, width);
            let mut next = StripMut::new(simd, &mut second[place.clone()]);
            for k in 0..next.len() {
                next.set(k, normal.at(k).times_plus(weight.at(k), bias.at(k)));
            }
            scales[1][pair] = normalise(simd, &mut next, width);
            let mut last = StripMut::new(simd, &mut third[place]);
            for k in 0..last.len() {
                last.set(k, next.at(k).times_plus(gain.at(k), shift.at(k)));
            }
            scales[2][pair] = normalise(simd, &mut last, width);
        }
    }
}

struct EmbedBack<'a> {
    bins: &'a [[u16; 3]],
    fed_back: bool,
    width: usize,
    d: &'a mut [f32],
    normals: [&'a [f32]; 3],
    scales: [&'a [f32]; 3],
    weight: &'a [f32],
    at_norm: [&'a mut [f32]; 2],
    gain: &'a [f32],
    at_rows: &'a mut [f32],
    at_table: &'a mut [f32],
}

impl WithSimd for EmbedBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.width;
        let factors = [self.weight, self.gain].map(|factor| Strip::new(simd, factor));
        let [at_weight, at_bias] = self.at_norm;
        let (at_gain, at_shift) = self.at_rows.split_at_mut(width);
        let mut at = [[at_weight, at_bias], [at_gain, at_shift]].map(|two| two.map(|at| StripMut::new(simd, at)));
        for (pair, &[separation, fed_back, distance]) in self.bins.iter().enumerate() {
            let place = pair * width..(pair + 1) * width;
            let mut d = StripMut::new(simd, &mut self.d[place.clone()]);
            for norm in [2, 1, 0] {
                let normal = Strip::new(simd, &self.normals[norm][place.clone()]);
                if norm < 2 {
                    let [at_factor, at_shift] = &mut at[norm];
                    for k in 0..d.len() {
                        let g = d.at(k);
                        at_factor.set(k, g.times_plus(normal.at(k), at_factor.at(k)));
                        at_shift.add(k, g);
                        d.set(k, g * factors[norm].at(k));
                    }
                }
                normalise_back(simd, &mut d, &normal, self.scales[norm][pair], width);
            }
            for bin in [separation, distance].into_iter().chain(self.fed_back.then_some(fed_back)) {
                let mut row = StripMut::new(simd, &mut self.at_table[usize::from(bin) * width..][..width]);
                for k in 0..d.len() {
                    row.add(k, d.at(k));
                }
            }
        }
    }
}
