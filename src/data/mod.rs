//! From files to batches: shards on disk → samples in a seeded order → ragged batches.

mod batch;

pub use batch::{Batch, Condition, NUM_FEATURES, StereoCentre};
