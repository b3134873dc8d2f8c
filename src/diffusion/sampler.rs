//! From prior samples to conformers.

use super::config::{DiffusionConfig, Prediction, Treatment};
use super::denoiser::{Denoiser, Input};
use super::draw::check_partition;
use super::handedness::correct_handedness;
use super::objective::fed_back;
use super::prior::prior_samples;
use super::schedule::{SamplerConfig, SamplerKind};
use crate::data::Condition;
use crate::geometry::vector::combine;
use crate::geometry::{Clouds, Group, Point, Se3, Translations, kabsch};
use crate::random::{Purpose, normal_points, stream};
use crate::{Error, Result};

/// Integrates the learned equation.
///
/// ```no_run
/// # use qsd::{Result, data::Condition, diffusion::{Denoiser, DiffusionConfig, Sampler, SamplerConfig}};
/// # fn f(denoiser: &dyn Denoiser, condition: &Condition, ids: &[u64]) -> Result<()> {
/// let sampler = Sampler::new(&SamplerConfig::default(), &DiffusionConfig::default())?;
/// let conformers = sampler.run(denoiser, condition, ids, 42, &mut |_| Ok(()))?;
/// # Ok(()) }
/// ```
pub struct Sampler {
    config: SamplerConfig,
    diffusion: DiffusionConfig,
    group: Box<dyn Group>,
    times: Vec<f64>,
    /// η_t of each step, in units of `prior_scale²`.
    etas: Vec<f64>,
}

/// One step of the integration, as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its number, `0..of`.
    pub index: usize,
    /// How many steps there are.
    pub of: usize,
    /// The state before it.
    pub before: &'a Clouds,
    /// The state after it.
    pub after: &'a Clouds,
}

impl Sampler {
    /// The sampler of a validated pair of configurations: it moves along horizontal directions if the
    /// treatment is `quotient`, and only keeps the clouds centred otherwise.
    pub fn new(config: &SamplerConfig, diffusion: &DiffusionConfig) -> Result<Self> {
        config.validate(diffusion)?;
        let group: Box<dyn Group> = match diffusion.treatment {
            Treatment::Quotient => Box::new(Se3),
            Treatment::Conventional | Treatment::Geodiff | Treatment::Af3 => Box::new(Translations),
        };
        let times = config.times();
        let etas = config.etas(&times[..config.steps]);
        Ok(Sampler { times, etas, config: config.clone(), diffusion: diffusion.clone(), group })
    }

    /// The same sampler on the quotient by another group.
    pub fn with_group(self, group: Box<dyn Group>) -> Self {
        Sampler { group, ..self }
    }

    /// Draws one sample per cloud of the condition. Sample `ids[b]` depends on (seed, its id) and on the
    /// network alone, whatever else is in the batch. `observe` is called after each step; its error ends the
    /// run.
    ///
    /// # Errors
    /// What the network or `observe` returns; [`Error::NonFinite`] at the first step whose result is not
    /// finite; [`Error::Data`] if ids, bonds and clouds do not fit together.
    pub fn run(
        &self,
        denoiser: &dyn Denoiser,
        condition: &Condition,
        ids: &[u64],
        seed: u64,
        observe: &mut dyn FnMut(Step<'_>) -> Result<()>,
    ) -> Result<Clouds> {
        check_partition(condition, ids)?;
        let mut x = prior_samples(&self.diffusion, condition, |b| stream(seed, Purpose::SamplePrior, 0, ids[b]))?;
        let feeds_back = self.config.self_condition && self.diffusion.self_conditioning > 0.0;
        let mut fed = None;
        for index in 0..self.config.steps {
            let t = vec![self.times[index]; x.len()];
            let prediction = denoiser.predict(Input { x_t: &x, t: &t, condition, self_condition: fed.as_ref() })?;
            if feeds_back {
                fed = Some(fed_back(&self.diffusion, &t, &x, &prediction));
            }
            let noise = self.is_stochastic(index).then(|| noise(&x, seed, index, ids));
            let after = self.step(index, &x, &prediction, noise.as_ref());
            check_finite(&after, ids, index, t.first())?;
            observe(Step { index, of: self.config.steps, before: &x, after: &after })?;
            x = after;
        }
        if self.config.correct_handedness {
            correct_handedness(condition, &mut x);
        }
        Ok(x)
    }

    /// Whether step `index` adds noise.
    pub fn is_stochastic(&self, index: usize) -> bool {
        self.config.kind == SamplerKind::Sde && self.times[index] <= self.config.sde_until
    }

    /// The state after step `index` from `x`, given what the network predicts there. With `noise` (standard
    /// normal ξ, centred here) it is a step of the SDE, without it one of the ODE.
    ///
    /// # Panics
    /// If the clouds differ in their sizes.
    pub fn step(&self, index: usize, x: &Clouds, prediction: &Clouds, noise: Option<&Clouds>) -> Clouds {
        let (t, dt) = (self.times[index], self.times[index + 1] - self.times[index]);
        let mut drift = self.velocity(t, x, prediction);
        let eta = noise.map_or(0.0, |_| self.etas[index] * self.diffusion.prior_scale.powi(2));
        if let (Some(path), true) = (self.diffusion.gaussian_path(), eta > 0.0) {
            let score = path.score_from_velocity(t).apply(x, &drift);
            drift = drift.zip_map(&score, |v, s| combine(1.0, v, eta, s));
        }
        let mut after = x.clone();
        for b in 0..x.len() {
            let update = Update { dt, temperature: self.config.gamma * eta };
            let noise = noise.map(|noise| noise.cloud(b));
            update.apply(&*self.group, after.cloud_mut(b), drift.cloud_mut(b), noise);
        }
        after
    }

    /// The velocity that the network's prediction stands for.
    fn velocity(&self, t: f64, x: &Clouds, prediction: &Clouds) -> Clouds {
        let predicted = match (self.config.align, self.diffusion.prediction) {
            (false, _) => prediction.clone(),
            (true, Prediction::Data) => aligned_onto(x, prediction),
            // Aligned is where the straight line arrives, as in the loss.
            (true, Prediction::Velocity) => {
                let arrival = aligned_onto(x, &x.zip_map(prediction, |x, v| combine(1.0, x, 1.0 - t, v)));
                arrival.zip_map(x, |d, x| combine(1.0 / (1.0 - t), d, -1.0 / (1.0 - t), x))
            }
        };
        match self.diffusion.prediction {
            Prediction::Velocity => predicted,
            Prediction::Data => self.diffusion.velocity_from_data(t).apply(x, &predicted),
        }
    }
}

/// One Euler–Maruyama step of one cloud.
struct Update {
    dt: f64,
    /// γ η_t, Å².
    temperature: f64,
}

impl Update {
    /// Advances `x` in place; `drift` and the noise are projected here.
    fn apply<const D: usize>(
        &self,
        group: &dyn Group<D>,
        x: &mut [Point<D>],
        drift: &mut [Point<D>],
        noise: Option<&[Point<D>]>,
    ) {
        group.horizontal_projection(x, drift);
        let mut displacement: Vec<Point<D>> = drift.iter().map(|v| v.map(|c| c * self.dt)).collect();
        if let Some(noise) = noise {
            let mut xi = noise.to_vec();
            group.horizontal_projection(x, &mut xi);
            let variance = 2.0 * self.temperature * self.dt;
            let curvature = group.mean_curvature(x, variance);
            for ((d, xi), h) in displacement.iter_mut().zip(&xi).zip(&curvature) {
                *d = combine(1.0, d, variance.sqrt(), xi);
                *d = combine(1.0, d, -0.5 * variance, h);
            }
        }
        x.iter_mut().zip(&displacement).for_each(|(x, d)| *x = combine(1.0, x, 1.0, d));
        group.centre(x);
    }
}

/// Each cloud of `mobile` moved rigidly onto that of `x`.
fn aligned_onto(x: &Clouds, mobile: &Clouds) -> Clouds {
    let mut aligned = mobile.clone();
    for b in 0..x.len() {
        kabsch::align(mobile.cloud(b), x.cloud(b)).apply(aligned.cloud_mut(b));
    }
    aligned
}

/// The noise of a step, each cloud's from its own generator.
fn noise(x: &Clouds, seed: u64, index: usize, ids: &[u64]) -> Clouds {
    let mut noise = x.zeros_like();
    for (b, &id) in ids.iter().enumerate() {
        let points = normal_points(&mut stream(seed, Purpose::SampleNoise, index as u64, id), x.cloud(b).len());
        noise.cloud_mut(b).copy_from_slice(&points);
    }
    noise
}

fn check_finite(x: &Clouds, ids: &[u64], index: usize, t: Option<&f64>) -> Result<()> {
    let broken = x.iter().position(|cloud| cloud.iter().flatten().any(|c| !c.is_finite()));
    broken.map_or(Ok(()), |b| {
        Err(Error::NonFinite(format!(
            "sampling step {index} (t = {}): the state of sample {} is not finite; is the network trained?",
            t.copied().unwrap_or_default(),
            ids[b]
        )))
    })
}
