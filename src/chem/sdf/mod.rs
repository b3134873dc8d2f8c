//! Structure-data files (MDL, versions V2000 and V3000).

mod write;

pub use write::write_record;
