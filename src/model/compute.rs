//! Which implementation computes a network, and how precisely.

use std::sync::Arc;

use candle_core::DType;
use serde::{Deserialize, Serialize};

use super::engine::{Precision, bf16_is_fast};
use super::et::fused::FusedEtNetwork;
use super::et::{EtConfig, EtNetwork};
use super::protein::fused::FusedProteinNetwork;
use super::protein::{ProteinConfig, ProteinNetwork};
use super::{ModelConfig, Network};
use crate::{Error, Result};

/// Section `compute`: how the network is computed. Results of different settings agree to rounding, not bit for
/// bit, so that a run keeps the setting it began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// `auto`, `fused` or `plain`.
    pub engine: Engine,
    /// `f32` or `bf16`: the operands of the fused engine's large products. Sums, norms, filters, geometry, losses
    /// and the optimizer are in f32 or f64 always.
    pub precision: Precision,
}

/// An implementation of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// `fused` where it supports the network's shape, else `plain`.
    #[default]
    Auto,
    /// Kernels for CPUs: an order of magnitude faster. Of molecules' networks, needs `model.hidden` to be a multiple of
    /// 32 and `model.heads` to divide 16; of proteins', `model.pair_updates` to be null.
    Fused,
    /// Tensor operations one by one: the reference that the fused engine is tested against; any shape.
    Plain,
}

/// The network of this shape.
///
/// # Errors
/// [`Error::Config`] if the shape is impossible, or not one that the engine or the precision allows.
pub fn network(config: &ModelConfig, compute: ComputeConfig) -> Result<Arc<dyn Network>> {
    match config {
        ModelConfig::Et(config) => et(config, compute),
        ModelConfig::Protein(config) => protein(config, compute),
    }
}

fn et(config: &EtConfig, compute: ComputeConfig) -> Result<Arc<dyn Network>> {
    let ComputeConfig { engine, precision } = compute;
    let fused = match engine {
        Engine::Auto => FusedEtNetwork::supports(config),
        Engine::Fused => true,
        Engine::Plain => false,
    };
    if fused {
        return Ok(Arc::new(FusedEtNetwork::new(config.clone(), precision)?));
    }
    if precision != Precision::F32 {
        return Err(Error::Config(
            "compute.precision is bf16, but only the fused engine knows it (model.hidden a multiple of 32, \
             model.heads a divisor of 16, and not compute.engine=plain)"
                .into(),
        ));
    }
    Ok(Arc::new(EtNetwork::new(config.clone(), DType::F32)?))
}

fn protein(config: &ProteinConfig, compute: ComputeConfig) -> Result<Arc<dyn Network>> {
    let ComputeConfig { engine, precision } = compute;
    let fused = match engine {
        Engine::Auto => FusedProteinNetwork::supports(config),
        Engine::Fused => true,
        Engine::Plain => false,
    };
    if fused {
        return Ok(Arc::new(FusedProteinNetwork::new(config.clone(), precision)?));
    }
    if precision != Precision::F32 {
        return Err(Error::Config(
            "compute.precision is bf16, but only the fused engine knows it (model.pair_updates null, and not \
             compute.engine=plain)"
                .into(),
        ));
    }
    Ok(Arc::new(ProteinNetwork::new(config.clone(), DType::F32)?))
}

impl ComputeConfig {
    /// What is worth a line to the user: a setting that is slow with this network or on this machine.
    pub fn warning(self, config: &ModelConfig) -> Option<&'static str> {
        if self.precision == Precision::Bf16 && !bf16_is_fast() {
            return Some(
                "compute.precision=bf16: this processor has no bf16 products; they are imitated, slower than f32",
            );
        }
        if self.engine != Engine::Auto {
            return None;
        }
        match config {
            ModelConfig::Et(config) if !FusedEtNetwork::supports(config) => Some(
                "the plain engine computes this network, an order of magnitude slower than the fused one, which needs \
                 model.hidden to be a multiple of 32 and model.heads to divide 16",
            ),
            ModelConfig::Protein(config) if !FusedProteinNetwork::supports(config) => Some(
                "the plain engine computes this network, an order of magnitude slower than the fused one, which needs \
                 model.pair_updates to be null",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::protein::PairUpdates;

    fn told(text: &str) -> ComputeConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn shapes_and_settings_choose_the_engine() {
        let shape = |layers, hidden| ModelConfig::Et(EtConfig { layers, hidden, ..EtConfig::default() });
        let (fits, odd) = (shape(1, 160), shape(20, 40));
        let auto = ComputeConfig::default();
        assert_eq!(auto, told(r#"{"engine": "auto", "precision": "f32"}"#));
        assert!(auto.warning(&fits).is_none());
        assert!(auto.warning(&odd).unwrap().contains("multiple of 32"));
        assert!(network(&odd, auto).is_ok());
        assert!(network(&odd, told(r#"{"engine": "fused"}"#)).is_err());
        assert!(network(&fits, told(r#"{"engine": "fused", "precision": "bf16"}"#)).is_ok());
        for (config, compute) in
            [(&odd, r#"{"precision": "bf16"}"#), (&fits, r#"{"engine": "plain", "precision": "bf16"}"#)]
        {
            let Err(error) = network(config, told(compute)) else { panic!("{compute}") };
            assert!(error.to_string().contains("bf16"), "{error}");
        }
        let protein = |pair_updates| {
            ModelConfig::Protein(ProteinConfig { layers: 1, hidden: 16, pair_updates, ..ProteinConfig::default() })
        };
        let (fast, slow) = (protein(None), protein(Some(PairUpdates::default())));
        assert!(auto.warning(&fast).is_none() && auto.warning(&slow).unwrap().contains("pair_updates"));
        assert!(network(&slow, auto).is_ok() && network(&slow, told(r#"{"engine": "fused"}"#)).is_err());
        assert!(network(&fast, told(r#"{"engine": "fused", "precision": "bf16"}"#)).is_ok());
        let Err(error) = network(&slow, told(r#"{"precision": "bf16"}"#)) else { panic!("bf16 without the engine") };
        assert!(error.to_string().contains("bf16"), "{error}");
        let slow = told(r#"{"precision": "bf16"}"#).warning(&fits);
        assert_eq!(slow.is_none(), bf16_is_fast());
    }
}
