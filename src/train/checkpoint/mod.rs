//! Checkpoints: the state of a training run at one step, wholly on disk or not at all.
//!
//! ```text
//! <run>/checkpoints/
//!   step-000000040/
//!     weights.safetensors      the parameters, by name and shape
//!     ema.safetensors          their exponential moving average, where one is kept
//!     optimizer.safetensors    first_moment/<name> and second_moment/<name>
//!     state.json               what the trainer adds
//!     manifest.json            format version, step, length and SHA-256 of each file and of itself
//!   latest                     name of the checkpoint written last, for people and scripts
//!   best                       name of the checkpoint that retention spares
//! ```
//!
//! A checkpoint is written to a hidden sibling folder, synced and renamed, so a crash at any point leaves the
//! previous one. Readers take nothing on trust: the manifest is checked against its own checksum, each file
//! against the manifest, names and shapes against the layout, numbers for finiteness. `docs/checkpoints.md`
//! states the format and the promises.

mod folder;
mod manifest;
mod retention;
mod snapshot;
mod tensors;
mod writer;

pub use folder::{Rejected, Search, newest_healthy, save, sweep};
pub use retention::{Retention, mark_best};
pub use snapshot::{Snapshot, Weights, load, load_for_sampling};
pub use tensors::weights_sha256;
pub use writer::{Handed, Saved, Writer};

const WEIGHTS: &str = "weights.safetensors";
const EMA: &str = "ema.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";

#[cfg(test)]
mod tests;
