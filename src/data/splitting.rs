//! Which split a sample goes to.

use rand::Rng;
use sha2::{Digest, Sha256};

use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// Refuses fractions that are none.
pub(super) fn check_fractions(fractions: &[f64; 3]) -> Result<()> {
    let ok = |fraction: &f64| (0.0..=1.0).contains(fraction);
    if fractions.iter().all(ok) && (fractions.iter().sum::<f64>() - 1.0).abs() <= 1e-9 {
        return Ok(());
    }
    Err(Error::Config(format!("split fractions {fractions:?}: three numbers with sum 1")))
}

/// Refuses a share that is none.
pub(super) fn check_max_bad(max_bad: f64) -> Result<()> {
    match (0.0..=1.0).contains(&max_bad) {
        true => Ok(()),
        false => Err(Error::Config(format!("largest share of bad records {max_bad}: between 0 and 1"))),
    }
}

/// The split that the seed gives to whatever has this identity, with the probabilities `fractions` of `train`, `val`
/// and `test`.
pub(super) fn split_of(identity: &[u8], seed: u64, fractions: &[f64; 3]) -> &'static str {
    let digest = Sha256::digest(identity);
    let id = u64::from_le_bytes(std::array::from_fn(|i| digest[i]));
    let uniform = (stream(seed, Purpose::Order, 0, id).next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let [train, val, test] = *fractions;
    if uniform < train {
        "train"
    } else if uniform < train + val || test == 0.0 {
        "val"
    } else {
        "test"
    }
}
