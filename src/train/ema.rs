//! The exponential moving average of the parameters.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Section `ema`: averaged parameters, used for validation and sampling when they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// d in θ̄ ← dθ̄ + (1−d)θ, in [0, 1). `null`: no average is kept.
    pub decay: Option<f64>,
}

impl EmaConfig {
    /// Refuses a decay outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        match self.decay {
            Some(decay) if !(0.0..1.0).contains(&decay) => {
                Err(Error::Config(format!("ema.decay must lie in [0, 1); found {decay}")))
            }
            _ => Ok(()),
        }
    }
}

/// θ̄ ← dθ̄ + (1−d)θ.
pub fn update_average(average: &mut [f32], parameters: &[f32], decay: f64) {
    let rest = (1.0 - decay) as f32;
    for (mean, theta) in average.iter_mut().zip(parameters) {
        *mean += rest * (theta - *mean);
    }
}
