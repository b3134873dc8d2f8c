//! A chain as tensors in the compute type.

use candle_core::{DType, Device, Tensor};

use super::ProteinConfig;
use super::chain::{Chain, distance_bins, distance_edges, index_embedding, time_embedding};
use super::config::FeatureOrder;
use crate::{Error, Result};

/// The parameter-free inputs of one chain of n residues.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Number of residues, n.
    pub(super) residues: usize,
    /// x_t in nm, (n, 3).
    pub(super) positions: Tensor,
    /// Residue number, break, fed-back position; (n, index + 4).
    pub(super) sequence: Tensor,
    /// The time's embedding, (1, time).
    pub(super) time: Tensor,
    /// The row of each table of fold classes, (1) each.
    pub(super) folds: [Tensor; 3],
    /// The columns of the pair features that are 1, (n²) each: the bins of separation, of distances fed back, of
    /// distances in x_t; none where nothing was fed back.
    pub(super) bins: [Option<Tensor>; 3],
    /// Which row of (this chain's conditioning, the registers' zeros) each token takes, (r + n).
    pub(super) rows: Tensor,
}

impl Prepared {
    pub(super) fn new(config: &ProteinConfig, dtype: DType, chain: &Chain) -> Result<Self> {
        let residues = chain.len();
        let rows = (0..config.registers + residues).map(|token| u32::from(token < config.registers));
        let column = |first: usize, bins: Vec<u32>| indices(bins.into_iter().map(|bin| first as u32 + bin).collect());
        let distances = |points, bins| distance_bins(points, &distance_edges(bins, dtype));
        let first = [config.separation_bins, config.separation_bins + config.self_condition_bins];
        let fed_back = chain.fed_back.as_ref().map(|points| distances(points, config.self_condition_bins));
        Ok(Prepared {
            residues,
            positions: matrix(chain.positions.concat(), (residues, 3), dtype)?,
            sequence: sequence(config, dtype, chain)?,
            time: matrix(time_embedding(chain.time, config.time, dtype), (1, config.time), dtype)?,
            folds: [fold(chain, 0)?, fold(chain, 1)?, fold(chain, 2)?],
            bins: [
                Some(column(0, chain.separation_bins(config.separation_bins))?),
                fed_back.map(|bins| column(first[0], bins)).transpose()?,
                Some(column(first[1], distances(&chain.positions, config.distance_bins))?),
            ],
            rows: indices(rows.collect())?,
        })
    }
}

impl Prepared {
    /// Of each pair the sum of the rows of `table` (features, width) that its bins choose: (n², width).
    pub(super) fn rows_of(&self, table: &Tensor) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for bins in self.bins.iter().flatten() {
            let rows = table.index_select(bins, 0)?;
            sum = Some(match sum {
                Some(sum) => (sum + rows)?,
                None => rows,
            });
        }
        sum.ok_or_else(|| Error::Compute(candle_core::Error::Msg("pairs without features".into())))
    }
}

fn fold(chain: &Chain, level: usize) -> Result<Tensor> {
    indices(vec![chain.folds[level] as u32])
}

fn sequence(config: &ProteinConfig, dtype: DType, chain: &Chain) -> Result<Tensor> {
    let mut numbers = Vec::with_capacity(chain.len() * config.sequence_features());
    for residue in 0..chain.len() {
        let gap = f64::from(u8::from(chain.breaks[residue]));
        let fed_back = chain.fed_back.as_ref().map_or([0.0; 3], |points| points[residue]);
        numbers.extend(index_embedding(chain.numbers[residue], config.index, dtype));
        match config.features {
            FeatureOrder::BreakFirst => numbers.extend([gap, fed_back[0], fed_back[1], fed_back[2]]),
            FeatureOrder::PositionFirst => numbers.extend([fed_back[0], fed_back[1], fed_back[2], gap]),
        }
    }
    matrix(numbers, (chain.len(), config.sequence_features()), dtype)
}

/// A matrix of f64 numbers, rounded to the compute type.
pub(super) fn matrix(numbers: Vec<f64>, shape: (usize, usize), dtype: DType) -> Result<Tensor> {
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

fn indices(numbers: Vec<u32>) -> Result<Tensor> {
    let len = numbers.len();
    Ok(Tensor::from_vec(numbers, len, &Device::Cpu)?)
}
