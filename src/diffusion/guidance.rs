//! Guidance: leading samples away from what a worse guide predicts.

use super::denoiser::{Denoiser, Input, Recording};
use crate::Result;
use crate::geometry::Clouds;
use crate::geometry::vector::combine;

/// A denoiser whose prediction is `w D + (1−w) [α A + (1−α) U]`: D that of the network, U that of the same network
/// without the fold class, A that of another network, which is worse. All three see the same state and the same
/// self-conditioning. Predictions are x_1 or velocities, which makes no difference, both being affine in each other.
pub struct Guided<'a> {
    /// The network.
    pub denoiser: &'a dyn Denoiser,
    /// A, where there is one.
    pub autoguide: Option<&'a dyn Denoiser>,
    /// w.
    pub weight: f64,
    /// α; without a network A it counts as 0.
    pub share: f64,
}

impl Denoiser for Guided<'_> {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        let prediction = self.denoiser.predict(input)?;
        if self.weight == 1.0 {
            return Ok(prediction);
        }
        let share = self.autoguide.map_or(0.0, |_| self.share);
        let mut guide = input.x_t.zeros_like();
        if share < 1.0 {
            // Where no class is told, U is D: the network need not be asked again.
            let unconditional = match input.condition.tells_folds() {
                true => {
                    let condition = input.condition.without_folds();
                    &self.denoiser.predict(Input { condition: &condition, ..input })?
                }
                false => &prediction,
            };
            guide = guide.zip_map(unconditional, |g, u| combine(1.0, g, 1.0 - share, u));
        }
        if let Some(network) = self.autoguide.filter(|_| share > 0.0) {
            guide = guide.zip_map(&network.predict(input)?, |g, a| combine(1.0, g, share, a));
        }
        Ok(prediction.zip_map(&guide, |d, g| combine(self.weight, d, 1.0 - self.weight, g)))
    }

    /// That of the network alone: guidance is for sampling.
    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        self.denoiser.record(input)
    }
}
