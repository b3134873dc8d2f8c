//! The equivariant transformer of ET-Flow (Hassan et al., *ET-Flow: Equivariant Flow-Matching for Molecular
//! Conformer Generation*, 2024), in candle's plain operations: the reference that faster engines are tested
//! against. Parameters carry the names of ET-Flow's state dict, so that published weights map one to one.
//!
//! Shapes in this module: N atoms of the batch, E directed edges (source j → target i), H channels, h heads of
//! d = H/h channels, K radial functions. Vector features are stored axis first, (3, N, H), so that each axis
//! is one matrix.
//!
//! # What is computed
//! 1. Positions are centred per molecule; edges are chosen ([`crate::model::graph`]).
//! 2. The *stem* embeds elements, atom features and edges: x (N, H), a (N, H), f (E, K + 2).
//! 3. Each *layer* updates scalars x and vectors V by messages along the edges.
//! 4. The *head* turns (x, V) into one vector per atom, centred per molecule.
//!
//! What deserves a second look, because the reference does it so: the filters act on *squared* distances,
//! D = |r|²; the direction is u = r / max(D, 0.01), of length 1/|r|; vector messages are not cut off.
//!
//! # Memory
//! A recording keeps x and V of each layer's border (N·4H numbers), and of the edges only what all layers share
//! (f and directions, E·(K + 5) numbers); walking back computes each layer once more. So memory is about that of
//! one layer, the walk is shallow whatever the number of layers, and any thread's stack will do.

mod config;
pub mod fused;
mod head;
mod input;
mod layer;
mod network;
mod recording;
mod stem;
mod tokens;

pub use config::EtConfig;
pub use network::{EtDenoiser, EtNetwork};
pub use recording::EtRecording;

use candle_core::Tensor;

use crate::Result;

/// Is told each intermediate tensor by name, as the network computes it.
pub type Trace<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// The features of the atoms between two layers.
#[derive(Clone, Debug)]
struct State {
    /// Scalars, (N, H).
    x: Tensor,
    /// Vectors, (3, N, H).
    vec: Tensor,
}

/// What the stem hands to every layer.
#[derive(Clone, Debug)]
struct Embedded {
    /// Embedded atom features a, (N, H).
    atoms: Tensor,
    /// Edge features f: radial functions, edge type, 1; (E, K + 2).
    edges: Tensor,
}

/// What a layer works with besides the state.
#[derive(Clone, Copy, Debug)]
struct Context<'a> {
    /// All parameters' values.
    w: &'a [Tensor],
    /// What no parameter influences.
    given: &'a input::Prepared,
    /// What the stem made.
    embedded: &'a Embedded,
}

/// Part `p` of a tensor whose rows are interleaved: viewed as (groups, parts, rest), the slice `[:, p, :]` in
/// the given shape.
fn part(t: &Tensor, groups: usize, parts: usize, p: usize, shape: (usize, usize)) -> Result<Tensor> {
    let rest = shape.0 * shape.1 / groups.max(1);
    Ok(t.reshape((groups, parts, rest))?.narrow(1, p, 1)?.reshape(shape)?)
}
