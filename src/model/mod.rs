//! The networks, and the one buffer their parameters live in.

pub(crate) mod engine;
pub mod et;
pub mod graph;
mod layers;
mod parameters;

pub use parameters::{Layout, Span};

use crate::Result;
use crate::diffusion::Denoiser;

/// An architecture: its parameters' layout, their initial values, and how values become a denoiser.
pub trait Network: Send + Sync {
    /// Names, shapes and places of the parameters.
    fn layout(&self) -> &Layout;

    /// Initial values for the whole buffer, a function of the seed alone.
    fn initialize(&self, seed: u64) -> Vec<f32>;

    /// The network with these parameter values (a buffer of the layout's length), which are copied.
    fn bind(&self, parameters: &[f32]) -> Result<Box<dyn Denoiser + Send + Sync>>;
}
