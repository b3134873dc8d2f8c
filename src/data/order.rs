//! The endless stream of samples: epoch after epoch, each a permutation of its own.

use rand::Rng;

use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// The order in which `n` items are visited. Epoch `e` is a permutation that depends on (seed, e) alone, and
/// the stream is the epochs one after another: position `p` is item `p mod n` of epoch `p div n`. So any
/// position is reached directly, and a batch may span epochs.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    n: u32,
    /// The permutation in use, and its epoch.
    cached: Option<(u64, Vec<u32>)>,
}

impl Order {
    /// An order of `n` items.
    ///
    /// # Errors
    /// [`Error::Data`] when there are none, or 2³² and more.
    pub fn new(seed: u64, n: usize) -> Result<Self> {
        let n = u32::try_from(n).ok().filter(|&n| n > 0);
        let n = n.ok_or_else(|| Error::Data("an order needs between 1 and 2^32 - 1 molecules".into()))?;
        Ok(Order { seed, n, cached: None })
    }

    /// The epoch and the item at a position of the stream.
    pub fn at(&mut self, position: u64) -> (u64, usize) {
        let (epoch, place) = (position / u64::from(self.n), position % u64::from(self.n));
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            self.cached = Some((epoch, permutation(self.seed, epoch, self.n)));
        }
        let (_, permutation) = self.cached.as_ref().expect("filled above");
        (epoch, permutation[place as usize] as usize)
    }
}

/// The permutation of an epoch, by Fisher and Yates' shuffle. Spelled out here, not taken from a library,
/// because it is part of what a seed means.
fn permutation(seed: u64, epoch: u64, n: u32) -> Vec<u32> {
    let mut rng = stream(seed, Purpose::Order, epoch, 0);
    let mut items: Vec<u32> = (0..n).collect();
    for i in (1..items.len()).rev() {
        items.swap(i, below(&mut rng, i as u64 + 1) as usize);
    }
    items
}

/// A whole number in `0..n`, each exactly as likely (Lemire's multiplication with rejection).
pub(super) fn below(rng: &mut impl Rng, n: u64) -> u64 {
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once_per_epoch_in_an_order_of_its_own() {
        let mut order = Order::new(7, 100).unwrap();
        let epochs: Vec<Vec<usize>> = (0..3)
            .map(|e| (0..100).map(|i| order.at(100 * e + i)).map(|(at, item)| (assert_eq!(at, e), item).1).collect())
            .collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort();
            assert!(sorted.into_iter().eq(0..100));
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_ne!(epochs[1], epochs[2]);
        assert_ne!(epochs[0], (0..100).map(|i| Order::new(8, 100).unwrap().at(i).1).collect::<Vec<_>>());
    }

    #[test]
    fn positions_are_reached_directly() {
        let mut walking = Order::new(1, 7).unwrap();
        let stream: Vec<_> = (0..50).map(|p| walking.at(p)).collect();
        for p in (0..50).rev() {
            assert_eq!(Order::new(1, 7).unwrap().at(p), stream[p as usize]);
        }
    }

    #[test]
    fn permutations_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(permutation(3, epoch, 4)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected each, standard deviation 31.
        assert!(counts.values().all(|&n: &i32| (n - 1000).abs() < 150), "{counts:?}");
    }

    #[test]
    fn no_molecules_is_an_error() {
        assert!(Order::new(0, 0).is_err());
    }
}
