//! What all parts of the fused network work with, and the products they share.

use super::plan::Plan;
use crate::model::engine::{Matrix, Products, Store, Weights};
use crate::model::protein::ProteinConfig;

/// The batch and the parameters.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) config: &'a ProteinConfig,
    pub(super) weights: Weights<'a>,
    /// How the tokens' large products are computed.
    pub(super) products: Products,
    pub(super) plan: &'a Plan,
}

impl Context<'_> {
    /// Products that are small, or whose operands are positions or scores: always in f32.
    pub(super) fn exact(self) -> Products {
        Products::default()
    }

    /// Number of rows of conditioning, R.
    pub(super) fn rows(self) -> usize {
        self.plan.len() + 1
    }
}

/// y = x Wᵀ for W (outputs, inputs), x (·, inputs), y (·, outputs).
pub(super) fn linear(products: Products, x: &[f32], weight: &[f32], inputs: usize, y: &mut [f32]) {
    let (x, outputs) = (Matrix::new(x, inputs), weight.len() / inputs);
    products.multiply(y, outputs, Store::Replace, x, Matrix::new(weight, inputs).t());
}

/// The gradient at x of [`linear`].
pub(super) fn linear_back(products: Products, at_y: &[f32], weight: &[f32], inputs: usize, at_x: &mut [f32]) {
    let outputs = weight.len() / inputs;
    products.multiply(at_x, inputs, Store::Replace, Matrix::new(at_y, outputs), Matrix::new(weight, inputs));
}

/// The gradient at W of [`linear`].
pub(super) fn at_weight(products: Products, at_y: &[f32], x: &[f32], inputs: usize, at_weight: &mut [f32]) {
    let outputs = at_weight.len() / inputs;
    products.multiply(at_weight, inputs, Store::Replace, Matrix::new(at_y, outputs).t(), Matrix::new(x, inputs));
}
