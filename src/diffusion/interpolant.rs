//! The path from prior to data, and what its Gaussian marginals allow to convert.

use super::config::{Coupling, DiffusionConfig, Prior};
use crate::geometry::vector::{centroid, combine, sub};
use crate::geometry::{Clouds, Point};

/// A noised cloud and its velocity.
#[derive(Clone, Debug, PartialEq)]
pub struct Noised {
    /// `x_t = (1−t) c(x_0) + t c(x_1) + γ_t c(ε)`, c being the centring.
    pub x_t: Vec<Point>,
    /// `u_t = x_1 − x_0 + γ̇_t c(ε)`, x_1 and x_0 centred if `centre_target` says so.
    pub u_t: Vec<Point>,
}

/// Noises one cloud (paper, equation 1). The three clouds need not be centred.
///
/// # Panics
/// If they differ in their number of points.
pub fn interpolate(config: &DiffusionConfig, t: f64, x_0: &[Point], x_1: &[Point], epsilon: &[Point]) -> Noised {
    assert!(x_0.len() == x_1.len() && x_1.len() == epsilon.len(), "one prior and noise point per point");
    let (gamma, d_gamma) = bridge_noise(config.bridge_sigma(), t);
    let [c_0, c_1, c_e] = [centroid(x_0), centroid(x_1), centroid(epsilon)];
    // By how much the uncentred x_1 − x_0 is moved.
    let shift = if config.centre_target { [0.0; 3] } else { sub(&c_1, &c_0) };
    let (mut x_t, mut u_t) = (Vec::with_capacity(x_1.len()), Vec::with_capacity(x_1.len()));
    for ((p_0, p_1), e) in x_0.iter().zip(x_1).zip(epsilon) {
        let (p_0, p_1, e) = (sub(p_0, &c_0), sub(p_1, &c_1), sub(e, &c_e));
        let mean = combine(1.0 - t, &p_0, t, &p_1);
        x_t.push(combine(1.0, &mean, gamma, &e));
        let velocity = combine(1.0, &sub(&p_1, &p_0), d_gamma, &e);
        u_t.push(combine(1.0, &velocity, 1.0, &shift));
    }
    Noised { x_t, u_t }
}

/// γ_t = σ √(t(1−t)) and its derivative.
fn bridge_noise(sigma: f64, t: f64) -> (f64, f64) {
    if sigma == 0.0 {
        return (0.0, 0.0);
    }
    let root = (t * (1.0 - t)).sqrt();
    (sigma * root, sigma * (1.0 - 2.0 * t) / (2.0 * root))
}

/// The path when x_0 is Gaussian and independent of x_1: `x_t = t x_1 + α̂_t z`, z standard normal,
/// `α̂² = (1−t)² s² + σ² t(1−t)`, s being the prior's scale. Then one of E[x_1|x_t], E[u_t|x_t] and the score
/// determines the others.
///
/// With σ = 0 the conversions between velocity and data hold for every prior and coupling, since then
/// `u_t = (x_1 − x_t)/(1−t)` sample by sample, and s cancels; the score needs the Gaussian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianPath {
    /// s, the prior's standard deviation in Å.
    pub scale: f64,
    /// σ of the bridge's noise; 0 for the one-sided path.
    pub sigma: f64,
}

/// `a x_t + b y`: what every conversion is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The coefficient a of x_t.
    pub x: f64,
    /// The coefficient b of what is converted.
    pub y: f64,
}

impl Affine {
    /// Applies the conversion to every point.
    pub fn apply(&self, x_t: &Clouds, y: &Clouds) -> Clouds {
        x_t.zip_map(y, |x, y| combine(self.x, x, self.y, y))
    }
}

impl GaussianPath {
    /// α̂² and half its derivative, α̂ α̂̇.
    fn variance(&self, t: f64) -> (f64, f64) {
        let (s2, sigma2) = (self.scale * self.scale, self.sigma * self.sigma);
        let r = 1.0 - t;
        (r * (r * s2 + t * sigma2), 0.5 * sigma2 * (1.0 - 2.0 * t) - r * s2)
    }

    /// E[u_t|x_t] from D = E[x_1|x_t]: `v = (α̂̇ x − (α̂̇ t − α̂) D)/α̂`, t < 1.
    pub fn velocity_from_data(&self, t: f64) -> Affine {
        let (variance, half_rate) = self.variance(t);
        Affine { x: half_rate / variance, y: (variance - half_rate * t) / variance }
    }

    /// `∇ log p_t = (x − t v)/(α̂ (α̂̇ t − α̂))` from v = E[u_t|x_t], t < 1; Å⁻¹.
    pub fn score_from_velocity(&self, t: f64) -> Affine {
        let (variance, half_rate) = self.variance(t);
        let d = half_rate * t - variance;
        Affine { x: 1.0 / d, y: -t / d }
    }
}

impl DiffusionConfig {
    /// The Gaussian path, if the prior is Gaussian and independent of the data.
    pub fn gaussian_path(&self) -> Option<GaussianPath> {
        let gaussian = self.prior == Prior::Gaussian && self.coupling == Coupling::Independent;
        gaussian.then(|| GaussianPath { scale: self.prior_scale, sigma: self.bridge_sigma() })
    }

    /// The velocity of a predicted x_1 at t < 1, in every combination that [`validate`](Self::validate) lets
    /// pass.
    pub(super) fn velocity_from_data(&self, t: f64) -> Affine {
        GaussianPath { scale: self.prior_scale, sigma: self.bridge_sigma() }.velocity_from_data(t)
    }
}
