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

    /// Given the loss's gradient at the prediction, *overwrites* `gradient` with the loss's gradient at
    /// every parameter, in the layout of the network's parameter buffer (exact zeros where the loss does
    /// not depend on a parameter).
    ///
    /// `ready` is told the runs that [`Network::units`](crate::model::Network::units) lists, in that order, each
    /// once its numbers are final; what it leaves there stays. Its error ends the walk.
    fn backward(self: Box<Self>, at_prediction: &Clouds, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<()>;
}
