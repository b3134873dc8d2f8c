//! Counter-based randomness: every random number is a function of (seed, purpose, step, id), never of a
//! rank, a thread, the time, or of what was drawn before. So a resumed run draws what the undisturbed one
//! would have drawn, on any number of processes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// What a random number is for. Numbers of different purposes are independent. The values are part of what
/// makes a run reproducible: new purposes are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial parameters; the id counts the spans.
    Initialization = 0,
    /// The permutation of an epoch; the step is the epoch.
    Order = 1,
    /// Which conformer of a molecule is drawn.
    Conformer = 2,
    /// The time t.
    Time = 3,
    /// The prior sample x_0.
    Prior = 4,
    /// The interpolant's noise ε.
    Interpolant = 5,
    /// A random rotation of the data.
    Rotation = 6,
    /// The sampler's prior; the id counts the samples.
    SamplePrior = 7,
    /// The sampler's noise ξ at one of its steps.
    SampleNoise = 8,
    /// Whether a step's predictions are fed back; the id is 0.
    SelfCondition = 9,
    /// Which member of a cluster an epoch shows; the step is the epoch, the id the cluster.
    Member = 10,
    /// Which part of a long chain is shown.
    Crop = 11,
    /// Which fold label of a chain is told, and how much of it.
    Fold = 12,
}

/// The generator for one (seed, purpose, step, id): the four numbers are ChaCha's key.
pub fn stream(seed: u64, purpose: Purpose, step: u64, id: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, step, id, purpose as u64]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// `n` points with independent standard normal coordinates.
pub fn normal_points<const D: usize>(rng: &mut ChaCha8Rng, n: usize) -> Vec<[f64; D]> {
    (0..n).map(|_| std::array::from_fn(|_| StandardNormal.sample(rng))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn each_argument_changes_the_numbers() {
        let draw = |seed, purpose, step, id| stream(seed, purpose, step, id).next_u64();
        let base = draw(1, Purpose::Time, 2, 3);
        assert_eq!(base, draw(1, Purpose::Time, 2, 3));
        for other in [draw(2, Purpose::Time, 2, 3), draw(1, Purpose::Prior, 2, 3), draw(1, Purpose::Time, 3, 2)] {
            assert_ne!(base, other);
        }
    }
}
