//! Denoisers in closed form, for laws whose shapes are known: what a perfectly trained network would say. The samplers
//! that use them have no error but their own. Shared by the examples that show the samplers' exactness and by the test
//! that insists on it (`tests/exactness.rs`).

// Each program uses its own part of this.
#![allow(dead_code)]

pub mod bessel;
pub mod gaussian;
pub mod rings;
pub mod statistics;
pub mod template;

use qsd::data::Condition;
use qsd::diffusion::{
    Coupling, Denoiser, DiffusionConfig, Eta, Input, Interpolant, Loss, Prediction, Prior, Recording, Sampler,
    SamplerConfig, SamplerKind,
};
use qsd::geometry::vector::scale;
use qsd::geometry::{Clouds, Group, Point};
use qsd::{Error, Result};
use rayon::prelude::*;

/// A denoiser given by a function of t and a cloud.
pub struct Analytic<F>(pub F);

impl<F: Fn(f64, &[Point]) -> Vec<Point> + Sync> Denoiser for Analytic<F> {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        let clouds: Vec<Vec<Point>> = input.x_t.iter().zip(input.t).map(|(x, &t)| (self.0)(t, x)).collect();
        Ok(Clouds::from_clouds(clouds.iter().map(Vec::as_slice)))
    }

    fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Err(Error::Config("a denoiser in closed form has no parameters to train".into()))
    }
}

/// A group with its curvature multiplied by a factor: −1 is the wrong sign, 0 leaves the term out.
pub struct Tampered<G>(pub G, pub f64);

impl<G: Group> Group for Tampered<G> {
    fn horizontal_projection(&self, x: &[Point], v: &mut [Point]) {
        self.0.horizontal_projection(x, v);
    }

    fn mean_curvature(&self, x: &[Point], spread: f64) -> Vec<Point> {
        self.0.mean_curvature(x, spread).iter().map(|h| scale(self.1, h)).collect()
    }

    fn centre(&self, x: &mut [Point]) {
        self.0.centre(x);
    }
}

/// A way of sampling, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `x ← x + v Δt`.
    PlainOde,
    /// The conventional stochastic sampler.
    PlainSde,
    /// `x ← x + P_x(v) Δt`.
    ProjectedOde,
    /// `x ← x + [P_x(v + η s) − γ η h̃] Δt + √(2γηΔt) P_x(ξ)`.
    ProjectedSde,
    /// The same without the curvature h̃: wrong.
    WithoutCurvature,
    /// The same with + h̃: wrong.
    FlippedCurvature,
}

impl Way {
    /// What tables and figures call it.
    pub fn label(self) -> &'static str {
        match self {
            Way::PlainOde => "plain ODE",
            Way::PlainSde => "plain SDE",
            Way::ProjectedOde => "projected ODE",
            Way::ProjectedSde => "projected SDE, −h̃",
            Way::WithoutCurvature => "projected SDE, no h̃",
            Way::FlippedCurvature => "projected SDE, +h̃",
        }
    }

    /// Whether the symmetry is left in.
    pub fn is_plain(self) -> bool {
        matches!(self, Way::PlainOde | Way::PlainSde)
    }

    /// The sampler for a Gaussian prior of this scale (Å): γ = 1, constant η, uniform steps. `symmetry` is what the
    /// projected ways take out, `plain` what the plain ones do.
    pub fn sampler(
        self,
        steps: usize,
        prior_scale: f64,
        plain: impl Group + 'static,
        symmetry: impl Group + 'static,
    ) -> Result<Sampler> {
        let kind = match self {
            Way::PlainOde | Way::ProjectedOde => SamplerKind::Ode,
            _ => SamplerKind::Sde,
        };
        let group: Box<dyn Group> = match self {
            Way::PlainOde | Way::PlainSde => Box::new(plain),
            Way::ProjectedOde | Way::ProjectedSde => Box::new(symmetry),
            Way::WithoutCurvature => Box::new(Tampered(symmetry, 0.0)),
            Way::FlippedCurvature => Box::new(Tampered(symmetry, -1.0)),
        };
        Ok(sampler(kind, steps, &diffusion(prior_scale))?.with_group(group))
    }
}

/// The quotient treatment of a one-sided path from a Gaussian prior of this scale (Å), with a network that predicts
/// data.
pub fn diffusion(prior_scale: f64) -> DiffusionConfig {
    DiffusionConfig {
        prediction: Prediction::Data,
        interpolant: Interpolant::OneSided,
        prior: Prior::Gaussian,
        prior_scale,
        coupling: Coupling::Independent,
        loss: Loss::Mse,
        ..DiffusionConfig::default()
    }
}

/// A sampler of uniform steps with constant η.
pub fn sampler(kind: SamplerKind, steps: usize, diffusion: &DiffusionConfig) -> Result<Sampler> {
    Sampler::new(&SamplerConfig { kind, steps, eta: Eta::Constant, ..SamplerConfig::default() }, diffusion)
}

/// `clouds` clouds of `n` points without any graph.
pub fn condition(clouds: usize, n: usize) -> Condition {
    Condition { offsets: (0..=clouds).map(|b| b * n).collect(), ..Condition::default() }
}

/// Samples of `n` points, their ids counted from 0, computed side by side.
pub fn samples(sampler: &Sampler, denoiser: &dyn Denoiser, clouds: usize, n: usize, seed: u64) -> Result<Clouds> {
    let ids: Vec<u64> = (0..clouds as u64).collect();
    let parts: Vec<Clouds> = ids
        .par_chunks(100)
        .map(|ids| sampler.run(denoiser, &condition(ids.len(), n), ids, seed, &mut |_| Ok(())))
        .collect::<Result<_>>()?;
    Ok(Clouds::from_clouds(parts.iter().flat_map(Clouds::iter)))
}
