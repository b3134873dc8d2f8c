//! The mathematics of training and sampling; hears of networks only through [`Denoiser`].
//!
//! In training, [`draw`] noises a batch and [`evaluate`] turns a prediction into the loss and its gradient.
//! In sampling, a [`Sampler`] carries a prior draw to a conformer. Both are configured by
//! [`DiffusionConfig`]; the sampler has a [`SamplerConfig`] of its own besides.

mod config;
mod denoiser;
mod draw;
mod guidance;
mod handedness;
mod interpolant;
mod objective;
mod prior;
mod sampler;
mod schedule;

pub use config::{Coupling, DiffusionConfig, Interpolant, Loss, Prediction, Prior, TimeLaw, Treatment, Weight};
pub use denoiser::{Denoiser, Input, Ready, Recording};
pub use draw::{Draw, draw, self_conditions, time};
pub use guidance::Guided;
pub use handedness::correct_handedness;
pub use interpolant::{Affine, GaussianPath, Noised, interpolate};
pub use objective::{Evaluation, evaluate, fed_back};
pub use prior::{HarmonicPrior, prior_sample};
pub use sampler::{Sampler, Step};
pub use schedule::{Eta, Grid, SamplerConfig, SamplerKind};
