//! What a forward pass leaves for the way back, and the room that both work in. All of it is memory that is kept
//! from step to step.

use super::plan::Plan;
use crate::model::engine::Buffer;

/// The rows of one adaptive norm.
#[derive(Debug, Default)]
pub(super) struct AdaptiveTape {
    /// The conditioning, normalised with this norm's factors and shifts, (R, c).
    pub(super) condition: Buffer,
    /// [gain | shift], (R, 2d).
    pub(super) rows: Buffer,
    /// The gradient at `rows`.
    pub(super) at_rows: Buffer,
}

/// The rows of the gate before a residual.
#[derive(Debug, Default)]
pub(super) struct GateTape {
    /// (R, d).
    pub(super) rows: Buffer,
    /// The gradient at `rows`.
    pub(super) at_rows: Buffer,
}

/// What stands between two blocks: see [`super::site`].
#[derive(Debug, Default)]
pub(super) struct SiteTape {
    pub(super) adaptive: AdaptiveTape,
    /// The state, normalised, (T, d), and its scales, (T).
    pub(super) normal: Buffer,
    pub(super) scale: Buffer,
    /// Likewise the adaptive norm's result, where a second norm follows.
    pub(super) second_normal: Buffer,
    pub(super) second_scale: Buffer,
}

/// What a block gives and how it joins the residual.
#[derive(Debug, Default)]
pub(super) struct OutputTape {
    pub(super) gate: GateTape,
    /// The block's output, (T, d); on the way back the gradient at it.
    pub(super) tokens: Buffer,
}

/// One layer.
#[derive(Debug, Default)]
pub(super) struct LayerTape {
    pub(super) attention_site: SiteTape,
    /// [q̂ | k̂ | v | g]: normalised queries and keys, values, gates after the sigmoid; (T, 4i).
    pub(super) heads: Buffer,
    /// The scales of queries and keys, (T) each.
    pub(super) query_scale: Buffer,
    pub(super) key_scale: Buffer,
    /// The attention's weights: for each chain and head (N, N).
    pub(super) weights: Buffer,
    /// What the heads gathered, before the gates, (T, i).
    pub(super) gathered: Buffer,
    pub(super) attention: OutputTape,
    pub(super) transition_site: SiteTape,
    /// [value | gate] of the transition, (T, 2 e d); on the way back the gradient at it.
    pub(super) wide: Buffer,
    pub(super) transition: OutputTape,
}

/// A transition of the conditioning.
#[derive(Debug, Default)]
pub(super) struct TransitionTape {
    /// (B, 4c), (B, 2c).
    pub(super) wide: Buffer,
    pub(super) inside: Buffer,
    /// (B, c).
    pub(super) output: Buffer,
}

/// What is computed once per chain.
#[derive(Debug, Default)]
pub(super) struct ConditionsTape {
    /// Time and fold embeddings, (B, time + 3 fold), and their projection, (B, c).
    pub(super) features: Buffer,
    pub(super) projected: Buffer,
    pub(super) transitions: [TransitionTape; 2],
    /// The conditioning, (R, c): a row of zeros, then a row per chain.
    pub(super) rows: Buffer,
    /// Normalised, and the scales.
    pub(super) normal: Buffer,
    pub(super) scale: Buffer,
    /// Gradients at `rows` and at `normal`, as far as the layers made them.
    pub(super) at_rows: Buffer,
    pub(super) at_normal: Buffer,
}

/// The pairs' conditioning, once per chain.
#[derive(Debug, Default)]
pub(super) struct PairsTape {
    /// The time's projection normalised, (B, c), its scales, and with factors and shifts.
    pub(super) time_normal: Buffer,
    pub(super) time_scale: Buffer,
    pub(super) time: Buffer,
    /// The latter normalised again, and the scales.
    pub(super) normal: Buffer,
    pub(super) scale: Buffer,
    pub(super) adaptive: AdaptiveTape,
    /// For each chain the attention biases of all layers and heads, (layers · h, n²); on the way back the gradients at
    /// them.
    pub(super) biases: Buffer,
}

/// After the layers.
#[derive(Debug, Default)]
pub(super) struct DecoderTape {
    /// The state, normalised, (T, d), its scales, and with factors and shifts.
    pub(super) normal: Buffer,
    pub(super) scale: Buffer,
    pub(super) tokens: Buffer,
    /// The prediction, (T, 3).
    pub(super) output: Buffer,
}

/// A batch, from its plan to its prediction.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) plan: Plan,
    pub(super) conditions: ConditionsTape,
    pub(super) pairs: PairsTape,
    /// One per layer; for prediction alone, two that take turns (the next layer adds what the last one gave).
    pub(super) layers: Vec<LayerTape>,
    pub(super) decoder: DecoderTape,
    /// The state, (T, d); on the way back the gradient at it.
    pub(super) state: Buffer,
}

/// Room for what no one needs later.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// (T, d), (T, d).
    pub(super) tokens: Buffer,
    pub(super) at_tokens: Buffer,
    /// (T, i) each.
    pub(super) queries: Buffer,
    pub(super) gathered: Buffer,
    /// (T, 4i).
    pub(super) at_heads: Buffer,
    /// (T, e d).
    pub(super) inside: Buffer,
    /// (N, N).
    pub(super) scores: Buffer,
    /// Rows of channels.
    pub(super) rows: [Buffer; 3],
    /// Tiles of pairs, (tile, p) each.
    pub(super) tiles: [Buffer; 4],
    /// The scales of a tile's norms.
    pub(super) scales: [Buffer; 3],
    /// The gradient at the matrix of biases, (layers · h, p), and at the table of pair features, (bins, p).
    pub(super) at_matrix: Buffer,
    pub(super) at_table: Buffer,
}
