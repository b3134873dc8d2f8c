//! Which network.

use serde::{Deserialize, Serialize};

use super::et::EtConfig;
use super::protein::ProteinConfig;
use crate::Result;

/// Section `model`: the network and its shape. `kind` says which; the other keys are that network's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelConfig {
    /// The equivariant transformer of ET-Flow, of molecules or of chains of residues.
    Et(EtConfig),
    /// The backbone transformer of Proteina, of chains of residues.
    Protein(ProteinConfig),
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig::Et(EtConfig::default())
    }
}

impl ModelConfig {
    /// Checks what the types cannot: [`Error::Config`](crate::Error::Config) names the key, its value and what is
    /// allowed.
    pub fn validate(&self) -> Result<()> {
        match self {
            ModelConfig::Et(config) => config.validate(),
            ModelConfig::Protein(config) => config.validate(),
        }
    }

    /// The numbers that elements must be below; `None` where the network knows no elements.
    pub fn max_z(&self) -> Option<usize> {
        match self {
            ModelConfig::Et(config) => Some(config.max_z),
            ModelConfig::Protein(_) => None,
        }
    }

    /// Whether the network uses what is fed back as self-conditioning.
    pub fn self_conditions(&self) -> bool {
        match self {
            ModelConfig::Et(_) => false,
            ModelConfig::Protein(_) => true,
        }
    }

    /// How many fold classes of each level the network tells apart, where it knows fold classes.
    pub fn fold_classes(&self) -> Option<[usize; 3]> {
        match self {
            ModelConfig::Et(_) => None,
            ModelConfig::Protein(config) => Some(config.fold_classes),
        }
    }
}
