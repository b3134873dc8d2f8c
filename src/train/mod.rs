//! The training loop and what it is made of.
//!
//! [`main`] reads the configuration, opens data, network and the newest checkpoint, and runs the trainer: in
//! each step the owned micro-shards go forward and backward, their gradients are summed along the canonical
//! tree over all processes, and every process updates its part of the parameters. Rank 0 writes logs and
//! checkpoints.

pub mod checkpoint;
mod clip;
mod config;
pub(crate) mod drawing;
mod ema;
mod evaluation;
mod gradient;
mod inspect;
mod metrics;
pub mod observe;
mod optimizer;
mod outputs;
mod phases;
pub mod process;
mod run_dir;
mod schedule;
mod setup;
mod state;
mod trainer;
mod update;

pub use clip::{Clip, ClipConfig, ClipKind, Clipped};
pub use config::{CheckpointConfig, Config, EvaluationConfig, LogConfig, RunConfig, TrainConfig, ValidationConfig};
pub use ema::{EmaConfig, update_average};
pub(crate) use gradient::side_by_side;
pub use gradient::{Pass, Sums};
pub use inspect::inspect;
pub use metrics::ShardSums;
pub use optimizer::{AdamW, Coefficients, OptimizerConfig};
pub use schedule::{ScheduleConfig, ScheduleKind};
pub use setup::{Mode, load, main};
pub use state::{Best, SavedState, State};
pub use update::{BLOCK, Run, norm};
