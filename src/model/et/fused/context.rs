//! What all parts of the fused network work with, and the products they share.

use super::far::Constants;
use super::messages::{Nodes, TileInput};
use super::plan::{Plan, far_terms};
use super::state::Heads;
use super::stem::Radial;
use super::weights::FilterMap;
use crate::model::engine::{
    Buffer, Finish, LayerNorm, Matrix, Products, Store, Weights, add_column_sums, layer_norm_back,
};
use crate::model::et::EtConfig;

/// The chunk and the parameters.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) config: &'a EtConfig,
    pub(super) weights: Weights<'a>,
    pub(super) filters: &'a FilterMap,
    pub(super) products: Products,
    pub(super) plan: &'a Plan,
}

/// What the stem hands to every layer.
#[derive(Clone, Copy)]
pub(super) struct Embedded<'a> {
    /// The embedded features a of each kind of atom, (kinds, H).
    pub(super) kinds: &'a [f32],
    /// The radial functions of the pairs.
    pub(super) radial: &'a Radial,
}

impl Context<'_> {
    pub(super) fn heads(&self) -> Heads {
        Heads { hidden: self.config.hidden, heads: self.config.heads }
    }

    /// Products that are small, or whose operands are distances: always in f32.
    pub(super) fn exact(self) -> Products {
        Products::default()
    }

    /// y = x Wᵀ without bias, for W (outputs, inputs).
    pub(super) fn linear(self, x: &[f32], weight: &[f32], outputs: usize, y: &mut Buffer) {
        let inputs = weight.len() / outputs;
        let y = y.resize(x.len() / inputs * outputs);
        self.products.multiply(y, outputs, Store::Replace, Matrix::new(x, inputs), Matrix::new(weight, inputs).t());
    }

    /// The gradient at x of y = x Wᵀ, for W (outputs, inputs).
    pub(super) fn linear_back(self, at_y: &[f32], weight: &[f32], outputs: usize, at_x: &mut [f32], store: Store) {
        let inputs = weight.len() / outputs;
        self.products.multiply(at_x, inputs, store, Matrix::new(at_y, outputs), Matrix::new(weight, inputs));
    }

    /// The gradient at W (outputs, inputs) of y = x Wᵀ.
    pub(super) fn at_weight(self, at_y: &[f32], x: &[f32], outputs: usize, at_weight: &mut [f32], store: Store) {
        let inputs = at_weight.len() / outputs;
        self.products.multiply(at_weight, inputs, store, Matrix::new(at_y, outputs).t(), Matrix::new(x, inputs));
    }

    /// The filters of a tile: radial functions times the weights `matrix`, whose rows have `width` numbers, and what
    /// `finish` makes of that.
    pub(super) fn radial_part(
        self,
        radial: &Radial,
        tile: usize,
        (matrix, width): (&[f32], usize),
        finish: impl Finish,
        filters: &mut Buffer,
    ) {
        let filters = filters.resize(self.plan.tiles[tile].pairs.len() * width);
        radial.tile(self.plan, tile).product(matrix, width, finish, filters);
    }

    /// The way back through [`Context::radial_part`], whose result had the gradient `at_filters`: adds to the
    /// gradients at the weights and at the radial functions.
    pub(super) fn radial_back(
        self,
        radial: &Radial,
        tile: usize,
        (matrix, width): (&[f32], usize),
        at_filters: &[f32],
        at_matrix: &mut [f32],
        at_radial: &mut [f32],
    ) {
        let functions = radial.tile(self.plan, tile);
        functions.at_weights(at_filters, width, at_matrix);
        let first = self.plan.tiles[tile].pairs.start * radial.stride;
        functions.at_rows(at_filters, matrix, width, &mut at_radial[first..]);
    }

    /// A tile for the kernels of [`super::messages`].
    pub(super) fn tile_input<'a>(&'a self, tile: usize, matrix: &'a [f32], nodes: Nodes<'a>) -> TileInput<'a> {
        let (width, k) = (self.filters.width(), self.config.rbf);
        TileInput {
            pairs: &self.plan.pairs[self.plan.tiles[tile].pairs.clone()],
            hidden: self.config.hidden,
            heads: self.config.heads,
            kind_weight: &matrix[k * width..][..width],
            bias: &matrix[(k + 1) * width..][..width],
            nodes,
        }
    }

    /// The constant filters of far messages.
    pub(super) fn constants<'a>(&self, matrix: &[f32], numbers: &'a mut Buffer) -> Constants<'a> {
        let (width, parts) = (self.filters.width(), self.config.parts());
        let bias = &matrix[(self.config.rbf + 1) * width..];
        let numbers = numbers.resize((parts - 1) * self.config.hidden);
        for (slot, column) in numbers.iter_mut().zip(self.filters.vector_columns()) {
            let b = bias[column];
            *slot = b / (1.0 + (-b).exp());
        }
        Constants { numbers, hidden: self.config.hidden, terms: far_terms(self.config) }
    }
}

/// Adds column sums to a bias's gradient, or replaces it by them.
pub(super) fn at_bias(at_y: &[f32], at_bias: &mut [f32], store: Store) {
    if store == Store::Replace {
        at_bias.fill(0.0);
    }
    add_column_sums(at_bias, at_y);
}

/// [`layer_norm_back`], whose gradients at the parameters replace what was there if `store` says so.
pub(super) fn norm_back(
    d: &mut [f32],
    normal: &[f32],
    scale: &[f32],
    weight: &[f32],
    at_norm: LayerNorm<&mut [f32]>,
    store: Store,
) {
    if store == Store::Replace {
        at_norm.weight.fill(0.0);
        at_norm.bias.fill(0.0);
    }
    layer_norm_back(d, normal, scale, weight, at_norm);
}
