//! One layer: attention among all tokens, biased by the pairs, then a transition; both conditioned.

use candle_core::{D, Tensor};

use super::blueprint::{AttentionParts, GatedTransitionParts, LayerParts};
use super::stem::spread;
use super::{Conditioned, Trace};
use crate::Result;
use crate::model::layers::{Linear, sigmoid, softmax};

impl LayerParts {
    /// Tokens (N, d) → (N, d), with attention biases (h, N, N).
    pub(super) fn forward(
        &self,
        given: Conditioned<'_>,
        biases: &Tensor,
        tokens: &Tensor,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor> {
        let tokens = self.attention.forward(given, biases, tokens, trace)?;
        let tokens = self.transition.forward(given, &tokens, trace)?;
        trace("out", &tokens);
        Ok(tokens)
    }
}

impl AttentionParts {
    fn forward(
        &self,
        given: Conditioned<'_>,
        biases: &Tensor,
        tokens: &Tensor,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor> {
        let adapted = self.adaptive.forward(given.w, tokens, given.condition, given.rows)?;
        trace("mhba.adaln", &adapted);
        let attended = self.attend(given.w, biases, &adapted)?;
        trace("mhba.mha", &attended);
        let scaled = scaled(&attended, &self.scale, given)?;
        trace("mhba", &scaled);
        Ok((tokens + scaled)?)
    }

    /// softmax(q kᵀ/√width + bias) v · sigmoid(gate), projected. Queries and keys are normalised over all heads together.
    fn attend(&self, w: &[Tensor], biases: &Tensor, x: &Tensor) -> Result<Tensor> {
        let x = self.norm.forward(w, x)?;
        let (tokens, inner, heads) = (x.dim(0)?, w[self.gate.bias].dim(0)?, biases.dim(0)?);
        let width = inner / heads;
        let by_head = |x: &Tensor| x.reshape((tokens, heads, width))?.transpose(0, 1)?.contiguous();
        let qkv = self.qkv.forward(w, &x)?;
        let part = |index: usize| qkv.narrow(D::Minus1, index * inner, inner)?.contiguous();
        let queries = by_head(&self.query_norm.forward(w, &part(0)?)?)?;
        let keys = by_head(&self.key_norm.forward(w, &part(1)?)?)?;
        let logits = (queries.matmul(&keys.t()?)? * (width as f64).sqrt().recip())?;
        let weights = softmax(&(logits + biases)?)?;
        let values = weights.matmul(&by_head(&part(2)?)?)?;
        let values = values.transpose(0, 1)?.reshape((tokens, inner))?;
        self.output.forward(w, &values.mul(&sigmoid(&self.gate.forward(w, &x)?)?)?)
    }
}

impl GatedTransitionParts {
    fn forward(&self, given: Conditioned<'_>, tokens: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let adapted = self.adaptive.forward(given.w, tokens, given.condition, given.rows)?;
        trace("transition.adaln", &adapted);
        let changed = self.transition.forward(given.w, &adapted)?;
        trace("transition.transition", &changed);
        let scaled = scaled(&changed, &self.scale, given)?;
        trace("transition", &scaled);
        Ok((tokens + scaled)?)
    }
}

/// x · sigmoid(W c + b), c as it is.
fn scaled(x: &Tensor, scale: &Linear, given: Conditioned<'_>) -> Result<Tensor> {
    let gate = sigmoid(&scale.forward(given.w, given.condition)?)?;
    Ok(x.mul(&spread(&gate, given.rows)?)?)
}
