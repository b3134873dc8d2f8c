//! What a forward pass knows of a batch of chains before any parameter, arranged for speed.

use std::ops::Range;

use candle_core::DType;

use crate::model::engine::Buffer;
use crate::model::protein::ProteinConfig;
use crate::model::protein::chain::{Chain, distance_bins, distance_edges, index_embedding, time_embedding};
use crate::model::protein::config::FeatureOrder;

/// One chain's place among the tokens, the pairs and the attention's weights.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Its residues, n.
    pub(super) residues: Range<usize>,
    /// Its tokens, N: the residues, then the registers.
    pub(super) tokens: Range<usize>,
    /// Its pairs of residues, n².
    pub(super) pairs: Range<usize>,
    /// Its pairs of tokens, N².
    pub(super) scores: Range<usize>,
    /// Whether a prediction was fed back.
    pub(super) fed_back: bool,
}

/// Tokens with the same conditioning.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Which tokens.
    pub(super) tokens: Range<usize>,
    /// Their row of conditioning.
    pub(super) row: usize,
}

/// A batch of chains.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) segments: Vec<Segment>,
    pub(super) groups: Vec<Group>,
    /// Number of tokens, T.
    pub(super) tokens: usize,
    /// The features of the tokens, (T, index + 4); zero for registers.
    pub(super) sequence: Buffer,
    /// x_t in nm, (T, 3); zero for registers.
    pub(super) positions: Buffer,
    /// The embedding of each chain's time, (B, time).
    pub(super) times: Buffer,
    /// Rows of the tables of fold classes, B.
    pub(super) folds: Vec<[usize; 3]>,
    /// For each pair, the columns of its features: separation, distance fed back, distance in x_t.
    pub(super) bins: Vec<[u16; 3]>,
}

impl Plan {
    /// Number of chains, B.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Number of pairs of residues.
    pub(super) fn pairs(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.pairs.end)
    }

    /// Number of pairs of tokens.
    pub(super) fn scores(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.scores.end)
    }

    /// Describes these chains.
    pub(super) fn set(&mut self, config: &ProteinConfig, chains: &[Chain]) {
        let features = config.sequence_features();
        self.segments.clear();
        self.groups.clear();
        self.folds.clear();
        self.bins.clear();
        self.tokens = chains.iter().map(|chain| chain.len() + config.registers).sum();
        self.sequence.zeros(self.tokens * features);
        self.positions.zeros(self.tokens * 3);
        self.times.resize(chains.len() * config.time);
        let edges = Edges::new(config);
        for (b, chain) in chains.iter().enumerate() {
            self.add_segment(config, chain);
            let times = &mut self.times[b * config.time..][..config.time];
            times
                .iter_mut()
                .zip(time_embedding(chain.time, config.time, DType::F32))
                .for_each(|(to, x)| *to = x as f32);
            self.folds.push(chain.folds);
            self.add_bins(config, chain, &edges);
        }
    }

    fn add_segment(&mut self, config: &ProteinConfig, chain: &Chain) {
        let (n, features) = (chain.len(), config.sequence_features());
        let start = self.segments.last().map_or(0, |segment| segment.tokens.end);
        let (residues, tokens) = (start..start + n, start..start + n + config.registers);
        let (pairs, scores) = (self.pairs(), self.scores());
        self.groups.push(Group { tokens: residues.clone(), row: self.segments.len() + 1 });
        self.groups.push(Group { tokens: residues.end..tokens.end, row: 0 });
        for (i, token) in residues.clone().enumerate() {
            for (axis, x) in chain.positions[i].into_iter().enumerate() {
                self.positions[3 * token + axis] = x as f32;
            }
            let row = &mut self.sequence[token * features..][..features];
            let (index, rest) = row.split_at_mut(config.index);
            index.iter_mut().zip(index_embedding(chain.numbers[i], config.index, DType::F32)).for_each(|(to, x)| {
                *to = x as f32;
            });
            let fed_back = chain.fed_back.as_ref().map_or([0.0; 3], |points| points[i]).map(|x| x as f32);
            let gap = f32::from(u8::from(chain.breaks[i]));
            rest.copy_from_slice(&match config.features {
                FeatureOrder::BreakFirst => [gap, fed_back[0], fed_back[1], fed_back[2]],
                FeatureOrder::PositionFirst => [fed_back[0], fed_back[1], fed_back[2], gap],
            });
        }
        self.segments.push(Segment {
            pairs: pairs..pairs + n * n,
            scores: scores..scores + tokens.len() * tokens.len(),
            fed_back: chain.fed_back.is_some(),
            residues,
            tokens,
        });
    }

    fn add_bins(&mut self, config: &ProteinConfig, chain: &Chain, edges: &Edges) {
        let ProteinConfig { separation_bins, self_condition_bins, .. } = *config;
        let separations = chain.separation_bins(separation_bins);
        let distances = distance_bins(&chain.positions, &edges.distances);
        let fed_back = chain.fed_back.as_ref().map(|points| distance_bins(points, &edges.fed_back));
        let start = self.bins.len();
        // At most 4095 + 4096 + 4096 columns.
        let pairs = separations.iter().zip(&distances);
        self.bins.extend(pairs.map(|(separation, distance)| {
            [*separation as u16, 0, (separation_bins + self_condition_bins + *distance as usize) as u16]
        }));
        for (bins, bin) in self.bins[start..].iter_mut().zip(fed_back.into_iter().flatten()) {
            bins[1] = (separation_bins + bin as usize) as u16;
        }
    }
}

/// The edges of the bins of distances, nm.
struct Edges {
    fed_back: Vec<f64>,
    distances: Vec<f64>,
}

impl Edges {
    fn new(config: &ProteinConfig) -> Self {
        Edges {
            fed_back: distance_edges(config.self_condition_bins, DType::F32),
            distances: distance_edges(config.distance_bins, DType::F32),
        }
    }
}
