//! What the mathematics needs of a network.

use std::ops::Range;

use crate::Result;
use crate::data::Condition;
use crate::geometry::Clouds;

/// What a network is evaluated at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The noised positions x_t in Å, `N` points in `B` clouds.
    pub x_t: &'a Clouds,
    /// The time of each cloud, `B` numbers in [0, 1]; 0 is the prior, 1 the data.
    pub t: &'a [f64],
    /// What the network is conditioned on.
    pub condition: &'a Condition,
    /// Self-conditioning: the x_1 in Å that was predicted before and is fed back; `None` where none was. Networks that
    /// do not know it ignore it.
    pub self_condition: Option<&'a Clouds>,
}

/// A network with its parameters: a vector per point, whose meaning (a velocity, or the data x_1) is the
/// training configuration's to say.
pub trait Denoiser: Sync {
    /// The prediction alone.
    fn predict(&self, input: Input<'_>) -> Result<Clouds>;

    /// The prediction, with what its gradient needs kept.
    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>>;
}

/// Is told each run of the gradient buffer as soon as its numbers are final, with these numbers.
pub type Ready<'a> = dyn FnMut(Range<usize>, &mut [f32]) -> Result<()> + 'a;

/// A forward pass that can be walked back once.
pub trait Recording {
    /// The prediction, one vector per point.
    fn prediction(&self) -> &Clouds;

    /// A loss of the network's own, beside that of the prediction: its value for each cloud, weighted as it counts.
    /// `scale` times its gradient joins that of [`backward`](Self::backward). None of most networks: an empty list.
    ///
    /// # Errors
    /// When `x_1` (the data, Å) or `t` do not fit the recording.
    fn auxiliary(&mut self, x_1: &Clouds, t: &[f64], scale: f64) -> Result<Vec<f64>> {
        let _ = (x_1, t, scale);
        Ok(Vec::new())
    }

    /// Given the loss's gradient at the prediction, *overwrites* `gradient` with the loss's gradient at
    /// every parameter, in the layout of the network's parameter buffer (exact zeros where the loss does
    /// not depend on a parameter).
    ///
    /// `ready` is told the runs that [`Network::units`](crate::model::Network::units) lists, in that order, each
    /// once its numbers are final; what it leaves there stays. Its error ends the walk.
    fn backward(self: Box<Self>, at_prediction: &Clouds, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<()>;
}
