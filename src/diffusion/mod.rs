//! The mathematics of training and sampling; hears of networks only through [`Denoiser`].

mod denoiser;

pub use denoiser::{Denoiser, Input, Recording};
