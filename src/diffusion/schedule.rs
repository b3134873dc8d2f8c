//! The section `sampler` of a configuration: how a prior sample is carried to the data.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::config::{DiffusionConfig, Treatment, non_negative, positive};
use crate::{Error, Result};

/// The most steps; the times of all are held in memory.
const MAX_STEPS: usize = 1_000_000;

/// How samples are drawn. The defaults are ET-Flow's 50 Euler steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// Deterministic or stochastic.
    pub kind: SamplerKind,
    /// How many times the network is evaluated, up to 1,000,000.
    pub steps: usize,
    /// Where the steps lie between t = 0 and t = 1.
    pub grid: Grid,
    /// The exponent p of the grids `power` and `log`. Refused where times become equal in f64.
    pub grid_power: f64,
    /// γ of the `sde`: 1 samples the learned law as steps get small, less trades diversity for likelihood,
    /// 0 leaves the drift alone.
    pub gamma: f64,
    /// The form of η_t of the `sde`, in units of `prior_scale²`, so that samples scale with the prior.
    pub eta: Eta,
    /// η_t is not let above this.
    pub eta_max: Option<f64>,
    /// The `sde` makes its steps from later times than this without noise and score. The score's factor
    /// 1/(1−t) makes explicit steps unstable where (1−t)² is small beside η_t Δt.
    pub sde_until: f64,
    /// Whether the predicted x_1 is aligned onto the state before each step, as Boltz-1 does; with the
    /// treatment `af3` only.
    pub align: bool,
    /// Whether a molecule in which a stereocentre came out with the wrong handedness is mirrored at the end.
    /// For networks that cannot tell mirror images apart.
    pub correct_handedness: bool,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        SamplerConfig {
            kind: SamplerKind::Ode,
            steps: 50,
            grid: Grid::Uniform,
            grid_power: 2.0,
            gamma: 1.0,
            eta: Eta::Inverse,
            eta_max: None,
            sde_until: 0.99,
            align: false,
            correct_handedness: false,
        }
    }
}

/// The equation that is integrated; P is the identity on centred vectors unless the treatment is `quotient`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// `x ← x + P_x(v) Δt`.
    Ode,
    /// `x ← x + [P_x(v + η_t s) − γ η_t h̃(x)] Δt + √(2 γ η_t Δt) P_x(ξ)`.
    Sde,
}

/// The times t_0 = 0 < … < t_K = 1 in terms of u = k/K.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grid {
    /// t = u.
    Uniform,
    /// t = u^p: short steps first.
    Power,
    /// t = (1 − 10^(−pu)) / (1 − 10^(−p)): short steps last.
    Log,
}

/// The form of η_t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eta {
    /// 1.
    Constant,
    /// 1/(t + 0.01).
    Inverse,
    /// (1−t)/(t + 0.01).
    Ratio,
    /// (π/2) sin(a)/(cos(a) + 0.01), a = (1−t) π/2.
    Tangent,
}

impl Eta {
    /// The form's value at t.
    pub fn at(self, t: f64) -> f64 {
        let t = t.clamp(0.0, 1.0 - 1e-5);
        match self {
            Eta::Constant => 1.0,
            Eta::Inverse => 1.0 / (t + 0.01),
            Eta::Ratio => (1.0 - t) / (t + 0.01),
            Eta::Tangent => {
                let angle = (1.0 - t) * std::f64::consts::FRAC_PI_2;
                std::f64::consts::FRAC_PI_2 * angle.sin() / (angle.cos() + 0.01)
            }
        }
    }
}

impl SamplerConfig {
    /// The times t_0 = 0 … t_K = 1, K = `steps`.
    pub fn times(&self) -> Vec<f64> {
        let (steps, p) = (self.steps as f64, self.grid_power);
        let time = |k: usize| {
            let u = k as f64 / steps;
            match self.grid {
                Grid::Uniform => u,
                Grid::Power => u.powf(p),
                Grid::Log => (1.0 - 10f64.powf(-p * u)) / (1.0 - 10f64.powf(-p)),
            }
        };
        (0..=self.steps).map(time).collect()
    }

    /// η_t in units of `prior_scale²`.
    pub fn eta(&self, t: f64) -> f64 {
        self.eta_max.map_or(self.eta.at(t), |max| self.eta.at(t).min(max))
    }

    /// Refuses values out of range, and samplers that the diffusion does not allow.
    pub fn validate(&self, diffusion: &DiffusionConfig) -> Result<()> {
        diffusion.validate()?;
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return Err(Error::Config(format!("sampler.steps: expected 1 to {MAX_STEPS}, found {}", self.steps)));
        }
        positive("sampler.grid_power", self.grid_power)?;
        self.validate_times()?;
        non_negative("sampler.gamma", self.gamma)?;
        non_negative("sampler.sde_until", self.sde_until)?;
        self.eta_max.map_or(Ok(()), |max| positive("sampler.eta_max", max))?;
        if self.align && diffusion.treatment != Treatment::Af3 {
            return Err(Error::Config(
                "sampler.align: aligning the prediction belongs to `diffusion.treatment: af3`; remove one of them"
                    .into(),
            ));
        }
        if self.kind == SamplerKind::Sde && diffusion.gaussian_path().is_none() {
            return Err(Error::Config(
                "sampler.kind: `sde` needs the score, which the prediction determines only for `diffusion.prior: gaussian` \
                 with `diffusion.coupling: independent`; sample with `ode`"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The times must increase: then all but the last are below 1, where velocity and score are finite.
    fn validate_times(&self) -> Result<()> {
        let times = self.times();
        // NaN is not less than anything.
        let stuck = times.windows(2).position(|pair| pair[0].partial_cmp(&pair[1]) != Some(Ordering::Less));
        stuck.map_or(Ok(()), |k| {
            Err(Error::Config(format!(
                "sampler.grid_power: with {} and {} steps the times {k} and {} are {} and {}, but each must be later \
                 than the one before; choose an exponent nearer 1, or fewer steps",
                self.grid_power,
                self.steps,
                k + 1,
                times[k],
                times[k + 1]
            )))
        })
    }
}
