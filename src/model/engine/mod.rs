//! What a fast network on a CPU is made of: aligned buffers that are kept, vector arithmetic that fits the
//! processor it runs on, matrix products, norms and activations with their way back.
//!
//! Nothing here knows of atoms. The pieces work on plain row-major `f32` matrices whose widths are multiples of
//! [`LANES`]; each is single-threaded, so that its result does not depend on who runs beside it.

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod band;
mod bf16;
mod buffer;
mod gated;
mod matrix;
mod norm;
mod parameters;
mod pool;
mod simd;
mod softmax;
#[cfg(test)]
pub(crate) mod testing;
mod thin;

pub(crate) use activation::{add_bias, add_bias_silu, add_column_sums, silu_back};
pub(crate) use band::{Band, Finish, Keep};
pub(crate) use bf16::supported as bf16_is_fast;
pub(crate) use buffer::Buffer;
pub(crate) use gated::{gated_silu, gated_silu_back};
pub use matrix::Precision;
pub(crate) use matrix::{Matrix, Products, Store};
pub(crate) use norm::{
    LayerNorm, affine_rows, affine_rows_back, layer_norm, layer_norm_back, normalise, normalise_back, normalise_rows,
    normalise_rows_back,
};
pub(crate) use parameters::{Gradients, Weights};
pub(crate) use pool::{Lease, Pool};
pub(crate) use simd::{LANES, Lanes, Row, RowMut, Strip, StripMut, dispatch, fold_lanes};
pub(crate) use softmax::{softmax, softmax_back};
pub(crate) use thin::{thin_at_weight, thin_back, thin_product};
