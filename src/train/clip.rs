//! Limits on the norm of the gradient.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClipKind {
    /// The limit follows the recent norms: min(1.5·mean + 2·deviation, `max`).
    Dynamic,
    /// The limit is `max`.
    Fixed,
    /// No limit.
    None,
}

/// Section `clip`: the limit on the global L2 norm of the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// `dynamic`, `fixed` or `none`.
    pub kind: ClipKind,
    /// The fixed limit, or the dynamic one's ceiling.
    pub max: f64,
    /// How many recent norms the dynamic limit looks at.
    pub window: usize,
    /// The norm that the dynamic limit's memory starts with; while it is remembered, the limit is `max`.
    pub initial: f64,
    /// Remember a norm of `max` or more as it is, as the reference does, instead of as the limit that was applied.
    pub remember_outliers: bool,
}

impl Default for ClipConfig {
    fn default() -> Self {
        ClipConfig { kind: ClipKind::Dynamic, max: 100.0, window: 50, initial: 3000.0, remember_outliers: false }
    }
}

impl ClipConfig {
    /// Refuses impossible values.
    pub fn validate(&self) -> Result<()> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if !positive(self.max) || !positive(self.initial) || self.window == 0 || self.window > 100_000 {
            return Err(Error::Config(format!(
                "clip: needs a positive, finite max and initial, and a window of 1 to 100000; found max {}, initial {}, window {}",
                self.max, self.initial, self.window
            )));
        }
        Ok(())
    }
}

/// What became of one gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// The largest norm allowed at this step.
    pub limit: f64,
    /// The factor on the gradient, at most 1.
    pub factor: f64,
}

/// The clipping rule with its memory, which is part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    #[serde(skip)]
    config: ClipConfig,
    /// The newest norms, newest first.
    recent: VecDeque<f64>,
}

impl Clip {
    /// The rule at the start of a run.
    pub fn new(config: ClipConfig) -> Self {
        Clip { config, recent: VecDeque::from([config.initial]) }
    }

    /// The rule with the memory that a checkpoint holds.
    pub fn resume(self, config: ClipConfig) -> Self {
        Clip { config, ..self }
    }

    /// Decides the factor for a gradient of this norm, min(1, limit/(norm + 10⁻⁶)), and remembers the norm.
    pub fn apply(&mut self, norm: f64) -> Clipped {
        let limit = match self.config.kind {
            ClipKind::None => return Clipped { limit: f64::INFINITY, factor: 1.0 },
            ClipKind::Fixed => self.config.max,
            ClipKind::Dynamic => self.dynamic_limit(),
        };
        if self.config.kind == ClipKind::Dynamic {
            let as_it_is = norm <= limit || (self.config.remember_outliers && norm >= self.config.max);
            self.recent.push_front(if as_it_is { norm } else { limit });
            self.recent.truncate(self.config.window);
        }
        Clipped { limit, factor: (limit / (norm + 1e-6)).min(1.0) }
    }

    fn dynamic_limit(&self) -> f64 {
        let n = self.recent.len() as f64;
        let mean = self.recent.iter().sum::<f64>() / n;
        let variance = self.recent.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (1.5 * mean + 2.0 * variance.sqrt()).min(self.config.max)
    }
}
