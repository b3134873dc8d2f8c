//! (being laid)

pub mod checkpoint;
