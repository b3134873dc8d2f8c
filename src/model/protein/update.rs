//! Between two layers: the tokens and triangles of pairs change the pairs.

use candle_core::{D, Tensor};

use super::blueprint::{TriangleParts, UpdateParts};
use super::{Pairs, Trace};
use crate::Result;
use crate::model::layers::{Linear, sigmoid};

impl UpdateParts {
    /// z_ij ← z_ij + a_j + b_i, then triangle multiplications and a transition, each added; z (N², p).
    pub(super) fn forward(&self, w: &[Tensor], tokens: &Tensor, pairs: &Pairs, trace: &mut Trace<'_>) -> Result<Pairs> {
        let (side, width) = (pairs.side, pairs.values.dim(1)?);
        let halves = self.tokens.forward(w, &self.token_norm.forward(w, tokens)?)?;
        let half = |index: usize| halves.narrow(1, index * width, width)?.contiguous();
        let grid = pairs.values.reshape((side, side, width))?;
        let grid = grid.broadcast_add(&half(0)?.unsqueeze(0)?)?.broadcast_add(&half(1)?.unsqueeze(1)?)?;
        let mut values = grid.reshape((side * side, width))?;
        if let Some([outgoing, incoming]) = &self.triangles {
            let change = outgoing.forward(w, &values, side, true)?;
            trace("tri_mult_out", &change);
            values = (values + change)?;
            let change = incoming.forward(w, &values, side, false)?;
            trace("tri_mult_in", &change);
            values = (values + change)?;
        }
        let wide = self.transition[0].forward(w, &self.norm.forward(w, &values)?)?.relu()?;
        let change = self.transition[1].forward(w, &wide)?;
        trace("transition", &change);
        let values = (values + change)?;
        trace("out", &values);
        Ok(Pairs { side, values })
    }
}

impl TriangleParts {
    /// sigmoid(g) · output(LN(Σ_k a_ik b_jk)), or Σ_k a_ki b_kj where edges come in; (N², p) → (N², p).
    fn forward(&self, w: &[Tensor], pairs: &Tensor, side: usize, outgoing: bool) -> Result<Tensor> {
        let normal = self.norm.forward(w, pairs)?;
        let factor = |[values, gates]: &[Linear; 2]| -> Result<Tensor> {
            let values = sigmoid(&gates.forward(w, &normal)?)?.mul(&values.forward(w, &normal)?)?;
            Ok(values.reshape((side, side, ()))?.permute((2, 0, 1))?.contiguous()?)
        };
        let (first, second) = (factor(&self.first)?, factor(&self.second)?);
        let products = match outgoing {
            true => first.matmul(&second.t()?)?,
            false => first.t()?.matmul(&second)?,
        };
        let products = products.permute((1, 2, 0))?.contiguous()?;
        let products = products.reshape((side * side, products.dim(D::Minus1)?))?;
        let change = self.output.forward(w, &self.output_norm.forward(w, &products)?)?;
        Ok(sigmoid(&self.gate.forward(w, &normal)?)?.mul(&change)?)
    }
}
