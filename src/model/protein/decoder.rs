//! After the layers: a velocity per residue and, with pair updates, a distogram.

use candle_core::{D, DType, Tensor};

use super::blueprint::DecoderParts;
use super::chain::{ANGSTROMS, DISTOGRAM, distance_bins, linspace};
use super::input::matrix;
use super::{Pairs, Trace};
use crate::Result;
use crate::geometry::Point;

/// Below this time the distogram is not asked for.
const DISTOGRAM_FROM: f64 = 0.3;

impl DecoderParts {
    /// Velocities in nm, (n, 3), from tokens (N, d).
    pub(super) fn forward(
        &self,
        w: &[Tensor],
        tokens: &Tensor,
        residues: usize,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor> {
        let registers = tokens.dim(0)? - residues;
        let velocity = self.projection.forward(w, &self.norm.forward(w, &tokens.narrow(0, registers, residues)?)?)?;
        trace("nn_out", &velocity);
        Ok(velocity)
    }

    /// The distogram's logits, (n², buckets), where the network has one.
    pub(super) fn distogram(&self, w: &[Tensor], pairs: &Pairs, residues: usize) -> Result<Option<Tensor>> {
        let Some((norm, projection)) = &self.distogram else { return Ok(None) };
        let registers = pairs.side - residues;
        let values = pairs.values.reshape((pairs.side, pairs.side, ()))?;
        let values = values.narrow(0, registers, residues)?.narrow(1, registers, residues)?.contiguous()?;
        let values = values.reshape((residues * residues, values.dim(D::Minus1)?))?;
        Ok(Some(projection.forward(w, &norm.forward(w, &values)?)?))
    }
}

/// The cross-entropy of a chain's distances, a mean over all ordered pairs, and `scale` times its gradient at the
/// logits (n², buckets). Both vanish where t is at most 0.3.
pub(super) fn cross_entropy(logits: &Tensor, x_1: &[Point], t: f64, scale: f64) -> Result<(f64, Option<Tensor>)> {
    if t <= DISTOGRAM_FROM || x_1.is_empty() {
        return Ok((0.0, None));
    }
    let (pairs, buckets) = logits.dims2()?;
    let points: Vec<Point> = x_1.iter().map(|x| x.map(|c| c / ANGSTROMS)).collect();
    let chosen = distance_bins(&points, &linspace(DISTOGRAM, buckets - 1, logits.dtype()));
    let rows = logits.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let (mut loss, mut gradient) = (0.0, Vec::with_capacity(pairs * buckets));
    let share = 1.0 / pairs as f64;
    for (row, &chosen) in rows.chunks_exact(buckets).zip(&chosen) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|logit| (logit - largest).exp()).sum();
        loss += share * (largest + sum.ln() - row[chosen as usize]);
        let at = |bucket: usize, logit: &f64| {
            let wanted = f64::from(u8::from(bucket == chosen as usize));
            scale * share * ((logit - largest).exp() / sum - wanted)
        };
        gradient.extend(row.iter().enumerate().map(|(bucket, logit)| at(bucket, logit)));
    }
    Ok((loss, Some(matrix(gradient, (pairs, buckets), logits.dtype())?)))
}
