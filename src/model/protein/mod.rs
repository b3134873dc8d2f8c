//! The protein-backbone transformer of Proteina (Geffner et al., *Proteina: Scaling Flow-based Protein Structure
//! Generative Models*, ICLR 2025), in candle's plain operations: the reference that faster engines are tested
//! against. Parameters carry the names of Proteina's state dict.
//!
//! Shapes in this module: n residues of a chain, r registers, N = r + n tokens of d channels, pairs of p channels,
//! conditioning vectors of c channels, h heads. Batches are computed chain by chain: no padding is ever made, and a
//! chain's prediction does not depend on its company, to the last bit.
//!
//! # What is computed
//! 1. Positions are divided by 10: inside, lengths are in nm. Nothing is centred or turned: the network is not
//!    equivariant, and learns rotations from rotated data.
//! 2. The *stem* embeds residue numbers, breaks, the fed-back prediction and positions as tokens; time and fold class
//!    as the chain's conditioning; and of each pair of residues the binned separation and distances.
//! 3. Each *layer* lets all tokens attend to all, biased by the pairs, and changes each by a gated transition. *Pair
//!    updates* may stand between layers.
//! 4. The *decoder* gives a velocity per residue, multiplied by 10; with pair updates, a distogram besides.
//!
//! What deserves a second look, because the reference does it so: two norms stand before queries, keys and values;
//! those of queries and keys span all heads; a transition's gate is the second half; output gates see the conditioning
//! itself, the adaptive norms see it normalised; registers are conditioned on zeros; and their pairs are zeros *before*
//! the norm.
//!
//! # Shortcuts
//! The reference does much of its work again and again. [`Shortcuts`] names three ways to compute the same function with
//! less; they are exact but for rounding.
//!
//! # Memory
//! A recording keeps the tokens at each layer's border, the pairs, and the attention biases; walking back computes each
//! layer of each chain once more. So memory is about that of one layer of one chain.

mod blueprint;
mod chain;
mod config;
mod decoder;
pub mod fused;
mod input;
mod layer;
mod network;
mod recording;
mod stem;
mod update;

pub use config::{FeatureOrder, PairUpdates, ProteinConfig};
pub use network::{ProteinDenoiser, ProteinNetwork};
pub use recording::ProteinRecording;

use candle_core::Tensor;

/// Is told each intermediate tensor of a chain by name, as the network computes it.
type Trace<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// Ways to compute the same function with less work. The default takes all, [`Shortcuts::none`] does as the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortcuts {
    /// The conditioning is the same for all residues and pairs of a chain: it is computed once per chain, and what
    /// depends on it alone too.
    pub once_per_chain: bool,
    /// The product of the binned pair features with a matrix is a sum of the rows that the bins choose.
    pub table_rows: bool,
    /// Layers that see the same pairs share their norm's statistics; their gains join the projections to attention
    /// biases, which are one product for all layers. The norm's shift adds the same to all of a softmax's logits
    /// and is left out.
    pub shared_norm: bool,
}

impl Shortcuts {
    /// The literal form.
    pub fn none() -> Self {
        Shortcuts { once_per_chain: false, table_rows: false, shared_norm: false }
    }
}

impl Default for Shortcuts {
    fn default() -> Self {
        Shortcuts { once_per_chain: true, table_rows: true, shared_norm: true }
    }
}

/// The pairs of a chain's residues or tokens.
#[derive(Clone, Debug)]
struct Pairs {
    /// Rows and columns, m: n or N.
    side: usize,
    /// (m², p), row by row.
    values: Tensor,
}

/// What a layer works with besides the state.
#[derive(Clone, Copy, Debug)]
struct Conditioned<'a> {
    /// All parameters' values.
    w: &'a [Tensor],
    /// Rows of conditioning.
    condition: &'a Tensor,
    /// The row of each token, where they are not one per token.
    rows: Option<&'a Tensor>,
}
