//! The training loop and what it is made of.

mod clip;
mod ema;
mod optimizer;
mod schedule;

pub use clip::{Clip, ClipConfig, ClipKind, Clipped};
pub use ema::{EmaConfig, update_average};
pub use optimizer::{AdamW, OptimizerConfig};
pub use schedule::{ScheduleConfig, ScheduleKind};
