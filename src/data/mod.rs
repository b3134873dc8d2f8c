//! From files to batches: shards on disk → samples in a seeded order → ragged batches.

mod batch;
mod dataset;
mod manifest;
mod record;
mod schema;
mod shard;

pub use batch::{Batch, Condition, NUM_FEATURES, StereoCentre};
pub use dataset::{Dataset, Split};
pub use manifest::{Manifest, ShardEntry};
pub use record::MoleculeRecord;
pub use schema::{ROWS_PER_BATCH, SCHEMA, SCHEMA_VERSION};
