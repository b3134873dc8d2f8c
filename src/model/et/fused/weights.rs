//! The filters' parameters, transposed.

use super::records;
use crate::model::engine::{Buffer, Gradients, LANES, Store, Weights};
use crate::model::et::EtConfig;
use crate::model::et::layer::Layer;
use crate::model::layers::Linear;

/// Where the filters' columns come from, and their weights in all layers.
///
/// A layer's filters are one matrix (K + 2, width): K rows of radial weights, then the weights of the bond type,
/// then the biases. Its columns are dk, then a record (see [`records`]) of [ds | dv1 | dv2 (| dv3)]; dk and ds are
/// head-minor.
#[derive(Debug)]
pub(super) struct FilterMap {
    /// For each column: its row in dv_proj, or in dk_proj for the first H columns.
    rows: Vec<usize>,
    hidden: usize,
    /// In a record.
    parts: usize,
    inputs: usize,
}

impl FilterMap {
    pub(super) fn new(config: &EtConfig) -> Self {
        let (h, heads, parts) = (config.hidden, config.heads, config.parts());
        let d = h / heads;
        // Head-minor column j is channel j / heads of head j % heads.
        let minor = |j: usize| (j % heads, j / heads);
        let natural = |j: usize| (j / d, j % d);
        let value = |(head, c): (usize, usize), part: usize| head * parts * d + part * d + c;
        let mut rows: Vec<usize> = (0..h).map(|j| minor(j).0 * d + minor(j).1).collect();
        for first in (0..h).step_by(LANES) {
            let channels = first..first + LANES;
            rows.extend(channels.clone().map(|j| value(minor(j), 0)));
            for part in 1..parts {
                rows.extend(channels.clone().map(|j| value(natural(j), part)));
            }
        }
        FilterMap { rows, hidden: h, parts, inputs: config.rbf + 1 }
    }

    /// Numbers in a row of filters.
    pub(super) fn width(&self) -> usize {
        self.rows.len()
    }

    /// Numbers in a layer's matrix.
    pub(super) fn len(&self) -> usize {
        (self.inputs + 1) * self.width()
    }

    /// The columns of dv1, dv2 (and dv3), one after the other.
    pub(super) fn vector_columns(&self) -> impl Iterator<Item = usize> {
        let FilterMap { hidden, parts, .. } = *self;
        (1..parts).flat_map(move |part| (0..hidden).map(move |c| hidden + records::place(parts, part, c)))
    }

    /// The columns, one cache line of them at a time: the first, and the linear layer and its rows behind them.
    fn blocks<'a>(&self, layer: &'a Layer) -> impl Iterator<Item = (usize, &'a Linear, [usize; LANES])> {
        self.rows.as_chunks().0.iter().enumerate().map(move |(block, &rows)| {
            let first = block * LANES;
            (first, if first < self.hidden { &layer.key_filter } else { &layer.value_filter }, rows)
        })
    }

    /// Writes the matrices of all layers, one after the other.
    pub(super) fn pack(&self, layers: &[Layer], weights: Weights<'_>, packed: &mut Buffer) {
        packed.resize(layers.len() * self.len());
        for (layer, matrix) in layers.iter().zip(packed.chunks_exact_mut(self.len())) {
            for (first, linear, rows) in self.blocks(layer) {
                let (weight, bias) = (weights.get(linear.weight), weights.get(linear.bias));
                let sources = rows.map(|row| &weight[row * self.inputs..][..self.inputs]);
                let (lines, last) = matrix.split_at_mut(self.inputs * self.width());
                for (k, line) in lines.chunks_exact_mut(self.width()).enumerate() {
                    line[first..first + LANES].copy_from_slice(&sources.map(|source| source[k]));
                }
                last[first..first + LANES].copy_from_slice(&rows.map(|row| bias[row]));
            }
        }
    }

    /// Writes a layer's gradient, in the form of its matrix, to where its parameters are.
    pub(super) fn unpack(&self, layer: &Layer, matrix: &[f32], gradients: &mut Gradients<'_>) {
        let store = gradients.store;
        let put = |slot: &mut f32, number: f32| *slot = if store == Store::Add { *slot + number } else { number };
        for (first, linear, rows) in self.blocks(layer) {
            let (lines, last) = matrix.split_at(self.inputs * self.width());
            let weight = gradients.get(linear.weight);
            for (k, line) in lines.chunks_exact(self.width()).enumerate() {
                for (row, &number) in rows.iter().zip(&line[first..first + LANES]) {
                    put(&mut weight[row * self.inputs + k], number);
                }
            }
            let bias = gradients.get(linear.bias);
            rows.iter().zip(&last[first..]).for_each(|(&row, &number)| put(&mut bias[row], number));
        }
    }
}
