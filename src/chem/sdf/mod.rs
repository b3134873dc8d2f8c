//! Structure-data files (MDL, versions V2000 and V3000).

mod ctab;
mod read;
mod v2000;
mod v3000;
mod write;

pub use read::Reader;
pub use write::write_record;
