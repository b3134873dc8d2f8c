//! The filters' parameters, transposed.

use crate::model::engine::{Buffer, Gradients, Store, Weights};
use crate::model::et::EtConfig;
use crate::model::et::layer::Layer;
use crate::model::layers::Linear;

/// Where the filters' columns come from, and their weights in all layers.
///
/// A layer's filters are one matrix (K + 2, width): K rows of radial weights, then the weights of the bond type,
/// then the biases; its columns are [dk | ds | dv1 | dv2 (| dv3)], each of H, the first two head-minor.
#[derive(Debug)]
pub(super) struct FilterMap {
    /// For each column: its row in dv_proj, or in dk_proj for the first H columns.
    rows: Vec<usize>,
    hidden: usize,
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
        rows.extend((0..h).map(|j| value(minor(j), 0)));
        for part in 1..parts {
            rows.extend((0..h).map(|j| value(natural(j), part)));
        }
        FilterMap { rows, hidden: h, inputs: config.rbf + 1 }
    }

    /// Numbers in a row of filters.
    pub(super) fn width(&self) -> usize {
        self.rows.len()
    }

    /// Numbers in a layer's matrix.
    pub(super) fn len(&self) -> usize {
        (self.inputs + 1) * self.width()
    }

    /// The linear layer and its row behind a column.
    fn origin<'a>(&self, layer: &'a Layer, column: usize) -> (&'a Linear, usize) {
        (if column < self.hidden { &layer.key_filter } else { &layer.value_filter }, self.rows[column])
    }

    /// Writes the matrices of all layers, one after the other.
    pub(super) fn pack(&self, layers: &[Layer], weights: Weights<'_>, packed: &mut Buffer) {
        packed.resize(layers.len() * self.len());
        for (layer, matrix) in layers.iter().zip(packed.chunks_exact_mut(self.len())) {
            for column in 0..self.width() {
                let (linear, row) = self.origin(layer, column);
                let source = &weights.get(linear.weight)[row * self.inputs..][..self.inputs];
                for (k, &number) in source.iter().enumerate() {
                    matrix[k * self.width() + column] = number;
                }
                matrix[self.inputs * self.width() + column] = weights.get(linear.bias)[row];
            }
        }
    }

    /// Writes a layer's gradient, in the form of its matrix, to where its parameters are.
    pub(super) fn unpack(&self, layer: &Layer, matrix: &[f32], gradients: &mut Gradients<'_>) {
        let store = gradients.store;
        let put = |slot: &mut f32, number: f32| *slot = if store == Store::Add { *slot + number } else { number };
        for column in 0..self.width() {
            let (linear, row) = self.origin(layer, column);
            let target = &mut gradients.get(linear.weight)[row * self.inputs..][..self.inputs];
            for (k, slot) in target.iter_mut().enumerate() {
                put(slot, matrix[k * self.width() + column]);
            }
            put(&mut gradients.get(linear.bias)[row], matrix[self.inputs * self.width() + column]);
        }
    }
}
