//! Protein backbones (Cα traces): geometry, secondary structure, diversity, novelty, designability.

pub mod designability;
pub mod tm;
