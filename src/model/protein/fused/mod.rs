//! The same network, arranged for a CPU: equal to the plain one to rounding, an order of magnitude faster. Without pair
//! updates only.
//!
//! Tokens of all chains of a batch lie side by side without padding: of each chain first the residues, then the
//! registers (attention does not look at the order). What is done differently:
//! - **Once per chain.** The conditioning is one vector per chain, and zero for registers; gains, shifts and gates of
//!   the adaptive norms are computed for these few rows alone (`conditions`).
//! - **Pairs in tiles.** A pair's features are a sum of three rows of a table; a tile of pairs is embedded, normalised
//!   and multiplied by the matrix that makes the attention biases of all layers and heads, while it is in the
//!   cache (`pairs`). Nothing of a pair's width is ever stored; the way back computes the tiles once more.
//! - **Between products, one pass.** The residual, the adaptive norm and the norm after it are one walk over the
//!   tokens (`site`).
//! - **Kept for the way back** are what the norms left, queries, keys, values and gates, what attention and
//!   transition gave, and the attention's weights; everything else is computed again from these. Gradients
//!   take their places where they are no longer needed.
//!
//! Legend: T tokens, R rows of conditioning (the zero vector, then one per chain), d channels, h heads of w channels,
//! i = h w, p channels of a pair, n residues of a chain and N tokens (residues and registers).

mod attention;
mod conditions;
mod context;
mod layer;
mod layer_back;
mod network;
mod pairs;
mod plan;
mod queries;
mod site;
mod stem;
mod tape;
#[cfg(test)]
mod tests;

pub use network::{FusedProteinDenoiser, FusedProteinNetwork, FusedProteinRecording};
