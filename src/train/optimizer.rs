//! AdamW on the flat parameter buffer.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Section `optimizer`: AdamW (Loshchilov & Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Decay of the first moment, β₁ in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, β₂ in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay λ, applied to every parameter.
    pub weight_decay: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-8 }
    }
}

impl OptimizerConfig {
    /// Refuses values outside their domains.
    pub fn validate(&self) -> Result<()> {
        let inside = |x: f64| (0.0..1.0).contains(&x);
        if !inside(self.beta1) || !inside(self.beta2) {
            return Err(Error::Config(format!(
                "optimizer.beta1 and optimizer.beta2 must lie in [0, 1); found {} and {}",
                self.beta1, self.beta2
            )));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::Config(format!("optimizer.epsilon must be positive; found {}", self.epsilon)));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(Error::Config(format!(
                "optimizer.weight_decay must not be negative; found {}",
                self.weight_decay
            )));
        }
        Ok(())
    }
}

/// The optimizer's state: both moments, in the layout of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    config: OptimizerConfig,
    /// The first moment m.
    pub first_moment: Vec<f32>,
    /// The second moment v.
    pub second_moment: Vec<f32>,
}

impl AdamW {
    /// Zero moments for `len` parameters.
    pub fn new(config: OptimizerConfig, len: usize) -> Self {
        Self::resume(config, vec![0.0; len], vec![0.0; len])
    }

    /// The state read from a checkpoint.
    pub fn resume(config: OptimizerConfig, first_moment: Vec<f32>, second_moment: Vec<f32>) -> Self {
        AdamW { config, first_moment, second_moment }
    }

    /// One update, the `step`-th counted from 1, with g = `scale`·`gradient` (`scale` is the clipping factor):
    ///
    /// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²,
    /// θ ← (1−ηλ)θ − η/(1−β₁ᵏ) · m / (√(v/(1−β₂ᵏ)) + ε),
    ///
    /// in f32 and in PyTorch's order of operations, so that one element's result depends on that element alone.
    ///
    /// This is the plain form; training makes the same update together with the average's, by
    /// [`Run::update`](super::Run::update).
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], scale: f32, learning_rate: f64, step: u64) {
        let coefficients = self.coefficients(scale, learning_rate, step);
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((theta, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
            coefficients.apply(theta, *g, m, v);
        }
    }

    /// What [`Self::step`] has of these arguments in common for all elements.
    pub fn coefficients(&self, scale: f32, learning_rate: f64, step: u64) -> Coefficients {
        let OptimizerConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let exponent = step.min(i32::MAX as u64) as i32;
        Coefficients {
            scale,
            decay: (1.0 - learning_rate * weight_decay) as f32,
            rate: (learning_rate / (1.0 - beta1.powi(exponent))) as f32,
            root: (1.0 - beta2.powi(exponent)).sqrt() as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
        }
    }
}

/// The numbers of one update that are the same for all elements.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients {
    scale: f32,
    decay: f32,
    rate: f32,
    root: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    epsilon: f32,
}

impl Coefficients {
    /// Updates one element.
    #[inline(always)]
    pub(super) fn apply(&self, theta: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = self.scale * g;
        *m += self.rest1 * (g - *m);
        *v = self.beta2 * *v + self.rest2 * g * g;
        *theta = self.decay * *theta - self.rate * (*m / (v.sqrt() / self.root + self.epsilon));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook recursion in f64.
    fn reference(config: &OptimizerConfig, gradients: &[f64], rate: f64, mut theta: f64) -> f64 {
        let (mut m, mut v) = (0.0, 0.0);
        for (k, g) in gradients.iter().enumerate() {
            let k = k as i32 + 1;
            m = config.beta1 * m + (1.0 - config.beta1) * g;
            v = config.beta2 * v + (1.0 - config.beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - config.beta1.powi(k)), v / (1.0 - config.beta2.powi(k)));
            theta -= rate * (m_hat / (v_hat.sqrt() + config.epsilon) + config.weight_decay * theta);
        }
        theta
    }

    #[test]
    fn follows_the_recursion() {
        let config = OptimizerConfig { weight_decay: 0.1, ..Default::default() };
        let gradients = [0.5, -0.25, 1.5, 0.0, -2.0, 1e-4];
        let mut optimizer = AdamW::new(config, 1);
        let mut theta = [0.75f32];
        for (k, g) in gradients.iter().enumerate() {
            optimizer.step(&mut theta, &[*g as f32 * 2.0], 0.5, 1e-2, k as u64 + 1);
        }
        let expected = reference(&config, &gradients, 1e-2, 0.75);
        assert!((theta[0] as f64 - expected).abs() < 2e-7, "{} against {expected}", theta[0]);
    }

    #[test]
    fn refuses_values_outside_their_domain() {
        for wrong in [
            OptimizerConfig { beta1: 1.0, ..Default::default() },
            OptimizerConfig { beta2: f64::NAN, ..Default::default() },
            OptimizerConfig { epsilon: 0.0, ..Default::default() },
            OptimizerConfig { weight_decay: -1.0, ..Default::default() },
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
    }
}
