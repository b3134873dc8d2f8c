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
    /// The exponent q that bends η_t: `log η` is taken from its mean over the steps, squashed by the logistic
    /// function, raised to q, and brought back. 1 leaves it as it is.
    pub eta_power: f64,
    /// η_t is not let above this.
    pub eta_max: Option<f64>,
    /// The `sde` makes its steps from later times than this without noise and score. The score's factor
    /// 1/(1−t) makes explicit steps unstable where (1−t)² is small beside η_t Δt.
    pub sde_until: f64,
    /// Whether each step's predicted x_1 is fed back to the network at the next, if it was trained so
    /// (`diffusion.self_conditioning` above 0).
    pub self_condition: bool,
    /// Guidance w: the prediction is that with the condition, w times, plus 1 − w times that of a worse guide. 1 is no
    /// guidance, above 1 leads away from the guide. `qsd-sample --autoguide` names a guide; the network itself without
    /// the fold class is the other.
    pub guidance: f64,
    /// The share of the guide that is the network of `--autoguide`; the rest is the unconditional one.
    pub autoguidance: f64,
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
            eta_power: 1.0,
            eta_max: None,
            sde_until: 0.99,
            self_condition: true,
            guidance: 1.0,
            autoguidance: 0.0,
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
    /// t/(1−t) = r^(p/2), r = (cos a + 10⁻⁵)/(sin a + 10⁻⁵), a = (1−u) π/2; scaled to begin at 0 and end at 1, as are
    /// the next two. Short steps at both ends. Here `sde_until: 0.985` is usual, as with `edm`.
    Cosine,
    /// t/(1−t) = 10^(6u−3): short steps at both ends.
    LogLinear,
    /// t/(1−t) = 1/σ, σ = (80^(1/p) + u (0.002^(1/p) − 80^(1/p)))^p, Karras' noise levels; p = 7 is usual.
    Edm,
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

impl Grid {
    /// The time at u, before it is scaled.
    fn at(self, u: f64, p: f64) -> f64 {
        let at_ratio = |ratio: f64| ratio / (1.0 + ratio);
        match self {
            Grid::Uniform => u,
            Grid::Power => u.powf(p),
            Grid::Log => (1.0 - 10f64.powf(-p * u)) / (1.0 - 10f64.powf(-p)),
            Grid::Cosine => {
                let (sin, cos) = ((1.0 - u) * std::f64::consts::FRAC_PI_2).sin_cos();
                at_ratio(((cos + 1e-5) / (sin + 1e-5)).powf(p / 2.0))
            }
            Grid::LogLinear => at_ratio(10f64.powf(6.0 * u - 3.0)),
            Grid::Edm => {
                let (first, last) = (80f64.powf(1.0 / p), 0.002f64.powf(1.0 / p));
                1.0 / (1.0 + (first + u * (last - first)).powf(p))
            }
        }
    }
}

/// The steps' η_t, bent by the exponent q: see `eta_power`.
fn bend(etas: &[f64], q: f64) -> Vec<f64> {
    let mean = etas.iter().map(|eta| eta.ln()).sum::<f64>() / etas.len().max(1) as f64;
    let bent = |eta: &f64| {
        let squashed = 1.0 / (1.0 + (mean - eta.ln()).exp());
        let raised = squashed.powf(q).clamp(1e-6, 1.0 - 1e-6);
        raised / (1.0 - raised) * mean.exp()
    };
    etas.iter().map(bent).collect()
}

impl SamplerConfig {
    /// The times t_0 = 0 … t_K = 1, K = `steps`.
    pub fn times(&self) -> Vec<f64> {
        let u = |k: usize| k as f64 / self.steps as f64;
        let raw: Vec<f64> = (0..=self.steps).map(|k| self.grid.at(u(k), self.grid_power)).collect();
        match self.grid {
            Grid::Uniform | Grid::Power | Grid::Log => raw,
            Grid::Cosine | Grid::LogLinear | Grid::Edm => {
                let (first, last) = (raw[0], raw[self.steps]);
                raw.iter().map(|t| (t - first) / (last - first)).collect()
            }
        }
    }

    /// η_t at each of these times (those before the steps), in units of `prior_scale²`.
    pub fn etas(&self, times: &[f64]) -> Vec<f64> {
        let plain: Vec<f64> = times.iter().map(|&t| self.eta.at(t)).collect();
        let bent = if self.eta_power == 1.0 { plain } else { bend(&plain, self.eta_power) };
        bent.into_iter().map(|eta| self.eta_max.map_or(eta, |max| eta.min(max))).collect()
    }

    /// Refuses values out of range, and samplers that the diffusion does not allow.
    pub fn validate(&self, diffusion: &DiffusionConfig) -> Result<()> {
        diffusion.validate()?;
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return Err(Error::Config(format!("sampler.steps: expected 1 to {MAX_STEPS}, found {}", self.steps)));
        }
        positive("sampler.grid_power", self.grid_power)?;
        self.validate_times()?;
        positive("sampler.eta_power", self.eta_power)?;
        non_negative("sampler.guidance", self.guidance)?;
        if !(0.0..=1.0).contains(&self.autoguidance) {
            return Err(Error::Config(format!("sampler.autoguidance: expected 0 to 1, found {}", self.autoguidance)));
        }
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
