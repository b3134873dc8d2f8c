//! From files to batches: shards on disk → samples in a seeded order → ragged batches.

mod batch;
mod config;
mod dataset;
mod files;
mod import;
mod inspect;
mod loader;
mod manifest;
mod order;
mod plan;
mod record;
mod schema;
mod shard;
mod writer;

pub use crate::chem::features::NUM_FEATURES;
pub use batch::{Atoms, Batch, Condition, Points, Residues, StereoCentre};
pub use config::{BatchBy, ConformerChoice, DataConfig};
pub use dataset::{Dataset, Split};
pub use import::{ImportOptions, Imported, MAX_CONFORMERS, Source, import};
pub use inspect::{Inspection, SplitCounts, inspect};
pub use loader::{Loader, StepBatches, TrainingStream, ValidationBatches};
pub use manifest::{Manifest, ShardEntry};
pub use order::Order;
pub use plan::{Planner, Position, Sample, Selection, StepPlan, num_edges};
pub use record::MoleculeRecord;
pub use schema::{ROWS_PER_BATCH, SCHEMA, SCHEMA_VERSION};
pub use writer::{DatasetWriter, NewMolecule, Provenance};
