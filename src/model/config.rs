//! Which network.

use serde::{Deserialize, Serialize};

use super::et::EtConfig;
use crate::Result;

/// Section `model`: the network and its shape. `kind` says which; the other keys are that network's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelConfig {
    /// The equivariant transformer of ET-Flow, of molecules or of chains of residues.
    Et(EtConfig),
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
        }
    }

    /// The numbers that elements must be below; `None` where the network knows no elements.
    pub fn max_z(&self) -> Option<usize> {
        match self {
            ModelConfig::Et(config) => Some(config.max_z),
        }
    }

    /// Whether the network uses what is fed back as self-conditioning.
    pub fn self_conditions(&self) -> bool {
        match self {
            ModelConfig::Et(_) => false,
        }
    }
}
