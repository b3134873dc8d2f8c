//! Before the layers: tokens, the conditioning vector, the pairs, and the attention biases that they make.

use std::ops::Range;

use candle_core::{D, Tensor};

use super::blueprint::{AdaptiveParts, BiasParts, ConditionParts, PairParts, StemParts, TransitionParts};
use super::input::Prepared;
use super::{Pairs, Shortcuts, Trace};
use crate::Result;
use crate::model::layers::{normalised, sigmoid};

/// What the stem hands to the layers.
#[derive(Clone, Debug)]
pub(super) struct Stem {
    /// Registers and residues, (N, d).
    pub(super) tokens: Tensor,
    /// The conditioning: a row per token (N, c), or, once per chain, the chain's row and the registers' zeros (2, c).
    pub(super) condition: Tensor,
    /// (m², p).
    pub(super) pairs: Pairs,
}

impl StemParts {
    /// With `padded` pairs the registers have zero pairs, otherwise none.
    pub(super) fn forward(
        &self,
        w: &[Tensor],
        given: &Prepared,
        shortcuts: Shortcuts,
        padded: bool,
        trace: &mut Trace<'_>,
    ) -> Result<Stem> {
        let condition = self.condition.forward(w, given, shortcuts, trace)?;
        let registers = &w[self.registers];
        let zeros = |rows: usize| Tensor::zeros((rows, condition.dim(1)?), condition.dtype(), condition.device());
        let condition = match shortcuts.once_per_chain {
            true => Tensor::cat(&[&condition, &zeros(1)?], 0)?,
            false => below(&zeros(registers.dim(0)?)?, &condition)?,
        };
        let positions = self.positions.forward(w, &given.positions)?;
        trace("coors_embed", &positions);
        trace("seq_feats_in", &given.sequence);
        let sequence = self.sequence.forward(w, &given.sequence)?;
        trace("seq_feats", &sequence);
        let tokens = below(registers, &(positions + sequence)?)?;
        trace("layer0.in_seqs", &tokens);
        trace("layer0.in_cond", &condition);
        let pairs = self.pairs.forward(w, given, shortcuts, trace)?;
        let pairs = Pairs { side: given.residues, values: pairs };
        let pairs = if padded { pairs.padded(registers.dim(0)?)? } else { pairs };
        Ok(Stem { tokens, condition, pairs })
    }

    /// The attention biases of some layers, (layers · h, m²), up to numbers that the softmax does not see: the pairs
    /// are normalised once, and all layers' gains and projections are one matrix.
    pub(super) fn shared_biases(&self, w: &[Tensor], layers: Range<usize>, pairs: &Pairs) -> Result<Tensor> {
        let of_layer = |parts: &BiasParts| -> Result<Tensor> {
            Ok(w[parts.projection.weight].broadcast_mul(&w[parts.norm.weight])?)
        };
        let matrices = self.biases[layers].iter().map(of_layer).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&matrices, 0)?.matmul(&normalised(&pairs.values)?.t()?)?)
    }

    /// The attention biases of one layer, (h, m, m), as the reference computes them.
    pub(super) fn biases(&self, w: &[Tensor], layer: usize, pairs: &Pairs, trace: &mut Trace<'_>) -> Result<Tensor> {
        let parts = self.biases[layer];
        let biases = parts.projection.forward(w, &parts.norm.forward(w, &pairs.values)?)?;
        let biases = biases.reshape((pairs.side, pairs.side, ()))?;
        trace("mhba.mha.to_bias", &biases);
        Ok(biases.permute((2, 0, 1))?.contiguous()?)
    }
}

impl ConditionParts {
    /// The chain's conditioning, (1, c) or once for each residue (n, c).
    fn forward(&self, w: &[Tensor], given: &Prepared, shortcuts: Shortcuts, trace: &mut Trace<'_>) -> Result<Tensor> {
        let rows = if shortcuts.once_per_chain { 1 } else { given.residues };
        let mut features = vec![given.time.clone()];
        for (table, row) in self.folds.iter().zip(&given.folds) {
            features.push(w[*table].index_select(row, 0)?);
        }
        let features = Tensor::cat(&features, 1)?;
        let features = features.broadcast_as((rows, features.dim(1)?))?.contiguous()?;
        trace("cond_feats_in", &features);
        let projected = self.projection.forward(w, &features)?;
        trace("cond_feats", &projected);
        let first = self.transitions[0].forward(w, &projected)?;
        trace("cond_t1", &first);
        let condition = self.transitions[1].forward(w, &first)?;
        trace("cond", &condition);
        Ok(condition)
    }
}

impl TransitionParts {
    /// (R, width) → (R, width).
    pub(super) fn forward(&self, w: &[Tensor], x: &Tensor) -> Result<Tensor> {
        let wide = self.widen.forward(w, x)?;
        let half = wide.dim(1)? / 2;
        let (values, gates) = (wide.narrow(1, 0, half)?, wide.narrow(1, half, half)?);
        self.narrow.forward(w, &values.mul(&gates.silu()?)?)
    }
}

impl PairParts {
    /// (n², p).
    fn forward(&self, w: &[Tensor], given: &Prepared, shortcuts: Shortcuts, trace: &mut Trace<'_>) -> Result<Tensor> {
        for (name, bins) in ["rel_seq_sep", "x_sc_pair_dists", "xt_pair_dists"].into_iter().zip(&given.bins) {
            if let Some(bins) = bins {
                trace(&format!("bins.{name}"), bins);
            }
        }
        let projection = &w[self.projection.weight];
        let projected = match shortcuts.table_rows {
            true => given.rows_of(&projection.t()?.contiguous()?)?,
            false => {
                let identity = Tensor::eye(projection.dim(1)?, projection.dtype(), projection.device())?;
                given.rows_of(&identity)?.matmul(&projection.t()?)?
            }
        };
        let pairs = self.norm.forward(w, &projected)?;
        trace("pair_init", &pairs);
        let rows = if shortcuts.once_per_chain { 1 } else { pairs.dim(0)? };
        let time = given.time.broadcast_as((rows, given.time.dim(1)?))?.contiguous()?;
        let condition = self.condition_norm.forward(w, &self.condition.forward(w, &time)?)?;
        trace("pair_cond", &condition);
        let pairs = self.adaptive.forward(w, &pairs, &condition, None)?;
        trace("pair_rep", &pairs);
        Ok(pairs)
    }
}

impl AdaptiveParts {
    /// LN(x) · sigmoid(γ(LN(c))) + β(LN(c)) for x (R, width). Row i of x takes row `rows`[i] of the conditioning;
    /// without `rows` row i, or all the only one.
    pub(super) fn forward(
        &self,
        w: &[Tensor],
        x: &Tensor,
        condition: &Tensor,
        rows: Option<&Tensor>,
    ) -> Result<Tensor> {
        let condition = self.norm.forward(w, condition)?;
        let gain = spread(&sigmoid(&self.gain.forward(w, &condition)?)?, rows)?;
        let shift = spread(&self.shift.forward(w, &condition)?, rows)?;
        Ok(normalised(x)?.broadcast_mul(&gain)?.broadcast_add(&shift)?)
    }
}

/// The rows of both; candle does not join nothing to something.
fn below(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    match first.dim(0)? {
        0 => Ok(second.clone()),
        _ => Ok(Tensor::cat(&[first, second], 0)?),
    }
}

/// The rows that are asked for, or all.
pub(super) fn spread(table: &Tensor, rows: Option<&Tensor>) -> Result<Tensor> {
    match rows {
        Some(rows) => Ok(table.index_select(rows, 0)?),
        None => Ok(table.clone()),
    }
}

impl Pairs {
    /// With zero pairs for this many registers in front.
    pub(super) fn padded(&self, registers: usize) -> Result<Pairs> {
        let values = self.values.reshape((self.side, self.side, ()))?;
        let values = values.pad_with_zeros(0, registers, 0)?.pad_with_zeros(1, registers, 0)?;
        let side = self.side + registers;
        Ok(Pairs { side, values: values.reshape((side * side, values.dim(D::Minus1)?))? })
    }
}
