//! The learning rate as a function of the step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Falls along half a cosine from `peak` to `min`, then restarts lower.
    Cosine,
    /// Stays at `peak`.
    Constant,
}

/// Section `schedule`: the learning rate of each optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// `cosine` or `constant`.
    pub kind: ScheduleKind,
    /// The highest learning rate of the first cycle.
    pub peak: f64,
    /// The lowest: where warm-up starts and the cosine ends.
    pub min: f64,
    /// Steps over which the rate rises linearly from `min` to the peak, at the start of every cycle.
    pub warmup: u64,
    /// Steps of the first cycle, warm-up included. Stated for itself, not taken from `train.steps`: a run that
    /// is prolonged must not have had another past.
    pub cycle: u64,
    /// Factor by which the falling part of each cycle is longer than that of the one before.
    pub cycle_growth: f64,
    /// Factor on the peak at each restart.
    pub restart_decay: f64,
    /// Use `min` at the very first step, as the reference implementation does.
    pub min_at_first_step: bool,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig {
            kind: ScheduleKind::Cosine,
            peak: 5e-4,
            min: 1e-8,
            warmup: 0,
            cycle: 375_000,
            cycle_growth: 1.0,
            restart_decay: 0.05,
            min_at_first_step: false,
        }
    }
}

impl ScheduleConfig {
    /// Refuses impossible values.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Config(format!("schedule: {what}")));
        if !(self.min >= 0.0 && self.peak >= self.min && self.peak.is_finite()) {
            return wrong(format!("needs 0 ≤ min ≤ peak; found min {} and peak {}", self.min, self.peak));
        }
        if self.kind == ScheduleKind::Cosine && self.cycle <= self.warmup {
            return wrong(format!("cycle ({}) must be longer than warmup ({})", self.cycle, self.warmup));
        }
        if !(self.cycle_growth >= 1.0 && self.cycle_growth.is_finite()) {
            return wrong(format!("cycle_growth must be at least 1; found {}", self.cycle_growth));
        }
        if !(self.restart_decay > 0.0 && self.restart_decay <= 1.0) {
            return wrong(format!("restart_decay must lie in (0, 1]; found {}", self.restart_decay));
        }
        Ok(())
    }

    /// The learning rate of optimizer step `k`, counted from 0. In a cycle of F steps with W of warm-up and
    /// peak p, step s of the cycle uses min + (p − min)·s/W while s < W, then
    /// min + (p − min)(1 + cos(π(s − W)/(F − W)))/2.
    pub fn learning_rate(&self, k: u64) -> f64 {
        if self.min_at_first_step && k == 0 {
            return self.min;
        }
        let (s, length, cycle) = match self.kind {
            ScheduleKind::Cosine => self.place(k),
            ScheduleKind::Constant => (k, u64::MAX, 0),
        };
        let rise = self.peak * self.restart_decay.powi(cycle) - self.min;
        if s < self.warmup {
            return self.min + rise * s as f64 / self.warmup as f64;
        }
        match self.kind {
            ScheduleKind::Constant => self.peak,
            ScheduleKind::Cosine => {
                let phase = (s - self.warmup) as f64 / (length - self.warmup) as f64;
                self.min + rise * (1.0 + (PI * phase).cos()) / 2.0
            }
        }
    }

    /// The step within its cycle, the cycle's length and its number.
    fn place(&self, k: u64) -> (u64, u64, i32) {
        if self.cycle_growth == 1.0 {
            return (k % self.cycle, self.cycle, (k / self.cycle).min(i32::MAX as u64) as i32);
        }
        let (mut s, mut length, mut cycle) = (k, self.cycle, 0);
        while s >= length {
            s -= length;
            length = ((length - self.warmup) as f64 * self.cycle_growth) as u64 + self.warmup;
            cycle += 1;
        }
        (s, length, cycle)
    }
}
