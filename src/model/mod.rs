//! The networks, the one buffer their parameters live in, and the engine that computes them fast on CPUs.

mod compute;
mod config;
mod engine;
pub mod et;
pub mod graph;
mod layers;
mod parameters;
pub mod protein;
mod walk;

pub use compute::{ComputeConfig, Engine, network};
pub use config::ModelConfig;
pub use engine::Precision;
pub use parameters::{Layout, Span};
pub use walk::Sink;

use std::ops::Range;

use crate::Result;
use crate::diffusion::Denoiser;

/// An architecture: its parameters' layout, their initial values, and how values become a denoiser.
pub trait Network: Send + Sync {
    /// Names, shapes and places of the parameters.
    fn layout(&self) -> &Layout;

    /// Initial values for the whole buffer, a function of the seed alone.
    fn initialize(&self, seed: u64) -> Vec<f32>;

    /// The runs of the gradient buffer in the order in which a walk back finishes them: disjoint, together the
    /// whole buffer, a function of the architecture alone.
    fn units(&self) -> &[Range<usize>];

    /// The network with these parameter values (a buffer of the layout's length).
    fn bind<'a>(&'a self, parameters: &'a [f32]) -> Result<Box<dyn Denoiser + Send + Sync + 'a>>;
}
