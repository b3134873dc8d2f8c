//! The protein-backbone transformer of Proteina (Geffner et al., *Proteina: Scaling Flow-based Protein Structure
//! Generative Models*, ICLR 2025).

mod blueprint;
mod config;

pub use config::{FeatureOrder, PairUpdates, ProteinConfig};
