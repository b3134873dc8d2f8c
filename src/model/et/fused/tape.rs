//! What a forward pass leaves for the way back, and the room that both work in. All of it is memory that is kept
//! from step to step.

use super::plan::Plan;
use super::records::Values;
use super::state::axes;
use super::stem::StemTape;
use crate::model::engine::Buffer;

/// The features of the atoms between two layers, or the gradients at them.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Scalars, (N, H).
    pub(super) x: Buffer,
    /// Vectors, (3, N, H).
    pub(super) vec: Buffer,
}

/// One layer.
#[derive(Debug, Default)]
pub(super) struct LayerTape {
    /// The first mixing layer before its activation, (N, H).
    pub(super) before: Buffer,
    /// The norm of the mixing: normalised, (N, H); scales, (N).
    pub(super) mixed_normal: Buffer,
    pub(super) mixed_scale: Buffer,
    /// Queries: normalised, natural order; scales; result, head-minor.
    pub(super) query_normal: Buffer,
    pub(super) query_scale: Buffer,
    pub(super) query: Buffer,
    /// Keys, likewise.
    pub(super) key_normal: Buffer,
    pub(super) key_scale: Buffer,
    pub(super) key: Buffer,
    /// The parts of v, (N, H) each: s, head-minor; v1, v2, v3.
    pub(super) scalar: Buffer,
    pub(super) v1: Buffer,
    pub(super) v2: Buffer,
    pub(super) v3: Buffer,
    /// Σ_d q k dk of each direction of each pair, in every lane.
    pub(super) attention: Buffer,
    /// The sums of the scalar messages X, (N, H), natural order.
    pub(super) sums: Buffer,
    /// o_proj X with bias, (N, 3H).
    pub(super) output: Buffer,
    /// vec_proj V, (3, N, 3H).
    pub(super) projected: Buffer,
}

impl LayerTape {
    /// What the atoms ask and send, with V of the state before the layer.
    pub(super) fn values<'a>(&'a self, vec: &'a [f32]) -> Values<'a> {
        let LayerTape { query, key, scalar, v1, v2, v3, .. } = self;
        Values { query, key, scalar, v1, v2, v3, vec: axes(vec) }
    }
}

/// One gated block of the head.
#[derive(Debug, Default)]
pub(super) struct BlockTape {
    /// V vec1ᵀ, (3, N, inputs), and its lengths, (N, inputs).
    pub(super) measured: Buffer,
    pub(super) lengths: Buffer,
    /// V vec2ᵀ, (3, N, vectors).
    pub(super) passed: Buffer,
    /// The update's first layer: normalised, (N, inputs), and scales, where there is a norm.
    pub(super) normal: Buffer,
    pub(super) scale: Buffer,
    /// Before and after its activation, (N, inputs).
    pub(super) before: Buffer,
    pub(super) hidden: Buffer,
    /// [scalars | gates], (N, scalars + vectors).
    pub(super) update: Buffer,
    /// The block's result.
    pub(super) state: State,
}

/// The head.
#[derive(Debug, Default)]
pub(super) struct HeadTape {
    /// The norm of x: normalised, scales, result.
    pub(super) normal: Buffer,
    pub(super) scale: Buffer,
    pub(super) x: Buffer,
    pub(super) blocks: [BlockTape; 2],
}

/// A chunk of molecules, from its plan to its prediction.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) plan: Plan,
    pub(super) stem: StemTape,
    /// Before each layer and after the last; for prediction alone, two that take turns.
    pub(super) states: Vec<State>,
    /// One per layer; for prediction alone, one.
    pub(super) layers: Vec<LayerTape>,
    pub(super) head: HeadTape,
}

/// Room for what no one needs later.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) row: Buffer,
    pub(super) natural: Buffer,
    pub(super) minor: Buffer,
    /// The mixing's hidden layer after its activation, (N, H).
    pub(super) hidden: Buffer,
    /// The mixing's result g, (N, H).
    pub(super) mixed: Buffer,
    pub(super) value: Buffer,
    pub(super) filters: Buffer,
    pub(super) slopes: Buffer,
    pub(super) constants: Buffer,
    pub(super) stack: Buffer,
    pub(super) at_output: Buffer,
    pub(super) at_projected: Buffer,
    pub(super) at_vec: Buffer,
    pub(super) at_query: Buffer,
    pub(super) at_key: Buffer,
    pub(super) at_scalar: Buffer,
    pub(super) at_v1: Buffer,
    pub(super) at_v2: Buffer,
    pub(super) at_v3: Buffer,
    /// Records of the atoms, and the gradients at them.
    pub(super) asked: Buffer,
    pub(super) sent: Buffer,
    pub(super) received: Buffer,
    pub(super) at_asked: Buffer,
    pub(super) at_sent: Buffer,
    pub(super) at_mixed: Buffer,
    pub(super) at_filters: Buffer,
    pub(super) at_constants: Buffer,
    /// The gradient between the blocks of the head.
    pub(super) between: State,
}

/// The gradients at what the stem made.
#[derive(Debug, Default)]
pub(super) struct AtEmbedded {
    /// At the embedded features of each kind of atom, (kinds, H).
    pub(super) kinds: Buffer,
    /// At the radial functions, (pairs, padded K).
    pub(super) radial: Buffer,
}
