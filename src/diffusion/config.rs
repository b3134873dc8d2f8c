//! The section `diffusion` of a configuration: what is learned.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How data becomes noise, and which error of the prediction counts.
///
/// Time runs from the prior at t = 0 to the data at t = 1. Lengths are in Å. The defaults are ET-Flow's for
/// GEOM-DRUGS, but for the treatment of rotations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionConfig {
    /// What is done about the rotations that leave a molecule's shape unchanged.
    pub treatment: Treatment,
    /// What the network's output means.
    pub prediction: Prediction,
    /// The path from prior to data.
    pub interpolant: Interpolant,
    /// σ of the bridge's noise `γ_t = σ √(t(1−t))`, Å. The one-sided path does not use it.
    pub sigma: f64,
    /// The law of x_0.
    pub prior: Prior,
    /// Factor on the prior's samples: the standard deviation of the Gaussian prior in Å; the harmonic prior
    /// has the covariance `prior_scale² L⁺` per coordinate, L being the bond graph's Laplacian.
    pub prior_scale: f64,
    /// How x_0 and x_1 are paired.
    pub coupling: Coupling,
    /// The law of t, on [0, 1] before it is scaled to `t_min..t_max`.
    pub time: TimeLaw,
    /// The time that 0 of the law stands for.
    pub t_min: f64,
    /// The time that 1 of the law stands for.
    pub t_max: f64,
    /// How a point's residual becomes its loss.
    pub loss: Loss,
    /// The length that the loss counts as 1, Å: 10 for losses in nanometres.
    pub unit: f64,
    /// The weight w(t) of a cloud's loss.
    pub weight: Weight,
    /// Whether the target `x_1 − x_0 + …` is centred, as the prediction of a centred network is. ET-Flow
    /// leaves the prior sample's mean in it, which no prediction can match; `false` reproduces that. It makes
    /// a difference only for a predicted velocity with `prior: gaussian` and `coupling: independent`, and not
    /// under the treatment `quotient`: elsewhere there is no mean to leave, or the loss does not see it.
    pub centre_target: bool,
    /// Whether each x_1 is turned by a random rotation first. Needed by networks that are not equivariant.
    pub rotate: bool,
    /// The share of steps in which the network predicts twice, the second time knowing what it predicted first
    /// (self-conditioning; see [`fed_back`](super::fed_back)). Networks that know nothing of it need 0.
    pub self_conditioning: f64,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        DiffusionConfig {
            treatment: Treatment::Quotient,
            prediction: Prediction::Velocity,
            interpolant: Interpolant::Bridge,
            sigma: 0.1,
            prior: Prior::Harmonic,
            prior_scale: 1.0,
            coupling: Coupling::Aligned,
            time: TimeLaw::Uniform,
            t_min: 1e-4,
            t_max: 0.9999,
            loss: Loss::Norm,
            unit: 1.0,
            weight: Weight::Constant,
            centre_target: true,
            rotate: false,
            self_conditioning: 0.0,
        }
    }
}

/// The treatments of the rotational symmetry that the paper compares. D is the predicted x_1, `A_y(x)` is x
/// moved rigidly onto y, sg stops the gradient. For a velocity network D is where the straight line arrives,
/// `D = x_t + (1−t) v`, and the residual is that of D divided by 1 − t; see [`evaluate`](super::evaluate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// None: the residual is D − x_1.
    Conventional,
    /// The data are aligned to the noised state: D − A_{x_t}(x_1).
    Geodiff,
    /// The data are aligned to the prediction: D − A_{sg(D)}(x_1).
    Af3,
    /// The residual's horizontal part counts, P_{x_t}(D − x_1), and the sampler moves horizontally.
    Quotient,
}

/// What a network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The velocity u_t.
    Velocity,
    /// The data x_1.
    Data,
}

/// The path `x_t = α_t x_0 + β_t x_1 + γ_t ε` with α_t = 1 − t and β_t = t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolant {
    /// γ_t = σ √(t(1−t)): noise between the ends.
    Bridge,
    /// γ_t = 0.
    OneSided,
}

/// The law that sampling starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prior {
    /// Bonds are springs.
    Harmonic,
    /// Independent normal coordinates.
    Gaussian,
}

/// The joint law of x_0 and x_1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coupling {
    /// x_0 is moved rigidly onto x_1.
    Aligned,
    /// x_0 is independent of x_1.
    Independent,
}

/// The law of t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeLaw {
    /// Uniform.
    Uniform,
    /// The logistic function of a standard normal number.
    LogitNormal,
    /// With probability 0.02 uniform, else Beta(1.9, 1).
    BetaUniform,
}

/// A cloud's loss, from its points' residuals r_n (or those per unit of time), in units of `diffusion.unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The mean of |r_n|, not squared.
    Norm,
    /// The mean of |r_n|².
    Mse,
    /// The mean over coordinates, |r_n|²/3, as Proteina counts.
    CoordinateMse,
}

/// The weight w(t), which multiplies |r_n|²; |r_n| is multiplied by its root, so that either loss is that of
/// the residual √w r_n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// w = 1.
    Constant,
    /// The error counts as that of the velocity, cut off near t = 1:
    /// w = 1/((1−t)² + 10⁻⁵) for a predicted x_1, (1−t)²/((1−t)² + 10⁻⁵) for a predicted velocity.
    Velocity,
}

impl DiffusionConfig {
    /// Refuses values out of range and combinations that contradict each other.
    pub fn validate(&self) -> Result<()> {
        non_negative("diffusion.sigma", self.sigma)?;
        positive("diffusion.prior_scale", self.prior_scale)?;
        positive("diffusion.unit", self.unit)?;
        if !(0.0..=1.0).contains(&self.self_conditioning) {
            let found = self.self_conditioning;
            return Err(Error::Config(format!("diffusion.self_conditioning: expected 0 to 1, found {found}")));
        }
        self.validate_times()?;
        self.validate_data_prediction()
    }

    fn validate_times(&self) -> Result<()> {
        let (t_min, t_max) = (self.t_min, self.t_max);
        if !(0.0 <= t_min && t_min < t_max && t_max <= 1.0) {
            return Err(Error::Config(format!(
                "diffusion.t_min and diffusion.t_max: expected 0 ≤ t_min < t_max ≤ 1, found {t_min} and {t_max}"
            )));
        }
        if self.bridge_sigma() > 0.0 && (t_min == 0.0 || t_max == 1.0) {
            return Err(Error::Config(format!(
                "diffusion.t_min and diffusion.t_max: the bridge's velocity is infinite at t = 0 and t = 1; \
                 keep the times inside, for example 1e-4 and 0.9999 (found {t_min} and {t_max})"
            )));
        }
        Ok(())
    }

    fn validate_data_prediction(&self) -> Result<()> {
        if self.prediction == Prediction::Data && self.bridge_sigma() > 0.0 && self.gaussian_path().is_none() {
            return Err(Error::Config(
                "diffusion.prediction: with `interpolant: bridge` a predicted x_1 determines the velocity only if \
                 `prior: gaussian` and `coupling: independent`; predict the velocity, or choose `interpolant: one-sided`"
                    .into(),
            ));
        }
        Ok(())
    }

    /// σ if the path has noise between its ends, else 0.
    pub fn bridge_sigma(&self) -> f64 {
        match self.interpolant {
            Interpolant::Bridge => self.sigma,
            Interpolant::OneSided => 0.0,
        }
    }
}

pub(super) fn positive(key: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Config(format!("{key}: expected a positive number, found {value}")))
}

pub(super) fn non_negative(key: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Config(format!("{key}: expected a number that is not negative, found {value}")))
}
