//! The randomness of a training step.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::config::{Coupling, DiffusionConfig, TimeLaw};
use super::interpolant::{Noised, interpolate};
use super::prior::prior_sample;
use crate::data::{Batch, Condition};
use crate::geometry::{Clouds, Point, kabsch, rotate, rotation_from_quaternion};
use crate::random::{Purpose, normal_points, stream};
use crate::{Error, Result};

/// A noised batch and what its losses are measured against.
#[derive(Clone, Debug)]
pub struct Draw {
    /// The time of each cloud.
    pub t: Vec<f64>,
    /// The noised positions: what the network sees.
    pub x_t: Clouds,
    /// The data, turned if the configuration says so.
    pub x_1: Clouds,
    /// The velocities of the sampled paths.
    pub u_t: Clouds,
}

/// Draws time, prior and noise for every cloud of a batch. The numbers of a cloud depend on (seed, step, its
/// sample id) alone: not on the batch that it stands in.
///
/// # Errors
/// If the batch's parts disagree about the clouds, or a bond leaves its cloud.
pub fn draw(config: &DiffusionConfig, seed: u64, step: u64, batch: &Batch) -> Result<Draw> {
    check_partition(&batch.condition, &batch.ids)?;
    if batch.x_1.offsets() != batch.condition.offsets && !batch.ids.is_empty() {
        return Err(Error::Data("batch: the positions and the condition differ in the clouds' sizes".into()));
    }
    let mut t = Vec::with_capacity(batch.ids.len());
    let (mut x_t, mut x_1, mut u_t) = (batch.x_1.clone(), batch.x_1.clone(), batch.x_1.clone());
    for (b, &id) in batch.ids.iter().enumerate() {
        let rng = |purpose| stream(seed, purpose, step, id);
        t.push(time(config, &mut rng(Purpose::Time)));
        if config.rotate {
            turn(&mut rng(Purpose::Rotation), x_1.cloud_mut(b));
        }
        let mut x_0 = prior_sample(config, &batch.condition, b, &mut rng(Purpose::Prior))?;
        if config.coupling == Coupling::Aligned {
            kabsch::align(&x_0, x_1.cloud(b)).apply(&mut x_0);
        }
        let epsilon = normal_points(&mut rng(Purpose::Interpolant), x_0.len());
        let noised: Noised = interpolate(config, t[b], &x_0, x_1.cloud(b), &epsilon);
        x_t.cloud_mut(b).copy_from_slice(&noised.x_t);
        u_t.cloud_mut(b).copy_from_slice(&noised.u_t);
    }
    Ok(Draw { t, x_t, x_1, u_t })
}

/// Whether the predictions of a step are fed back: one toss for the whole step, so that its shards agree.
pub fn self_conditions(config: &DiffusionConfig, seed: u64, step: u64) -> bool {
    stream(seed, Purpose::SelfCondition, step, 0).random::<f64>() < config.self_conditioning
}

/// One id per cloud, or an error.
pub(super) fn check_partition(condition: &Condition, ids: &[u64]) -> Result<()> {
    let clouds = condition.offsets.len().saturating_sub(1);
    if clouds != ids.len() {
        return Err(Error::Data(format!("batch: {clouds} clouds but {} sample ids", ids.len())));
    }
    Ok(())
}

/// Draws t.
pub fn time(config: &DiffusionConfig, rng: &mut ChaCha8Rng) -> f64 {
    let u = match config.time {
        TimeLaw::Uniform => rng.random::<f64>(),
        TimeLaw::LogitNormal => 1.0 / (1.0 + (-standard_normal(rng)).exp()),
        TimeLaw::BetaUniform => {
            let (which, u) = (rng.random::<f64>(), rng.random::<f64>());
            // Beta(a, 1) has the distribution function t^a.
            if which < 0.02 { u } else { u.powf(1.0 / 1.9) }
        }
    };
    config.t_min + (config.t_max - config.t_min) * u
}

fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Turns a cloud by a rotation uniform over SO(3).
fn turn(rng: &mut ChaCha8Rng, x: &mut [Point]) {
    let rotation = rotation_from_quaternion(std::array::from_fn(|_| standard_normal(rng)));
    x.iter_mut().for_each(|p| *p = rotate(&rotation, p));
}
