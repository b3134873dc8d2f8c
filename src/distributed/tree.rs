//! The canonical sum. A step's batch is cut into S micro-shards, S a power of two, and their buffers are added
//! element by element along the binary tree over the shard index,
//!
//! ```text
//! ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))          S = 8
//!  └── rank 0 ──┘ └ rank 1 ┘ └─ rank 2 ─┘ └ rank 3 ┘         R = 4
//! ```
//!
//! R ranks, R a power of two and at most S, own the S/R shards of a subtree each: [`TreeSum`] adds these,
//! [`all_reduce`] finishes the same tree across the ranks. Floating-point addition is not associative, but the
//! tree does not depend on R, so neither do the bits of the sum.

use std::ops::Range;

use super::Communicator;
use crate::{Error, Result};

/// The shards (indices in `0..shards`) that this rank computes.
///
/// # Errors
/// [`Error::World`] when `shards` or the number of ranks is no power of two, or there are more ranks than shards.
pub fn owned_shards(world: &dyn Communicator, shards: usize) -> Result<Range<usize>> {
    let size = check_size(world)?;
    if !shards.is_power_of_two() {
        let above = shards.next_power_of_two();
        return Err(Error::World(format!(
            "the batch is cut into {shards} micro-shards, but their sum needs a power of two: {} or {above}",
            (above / 2).max(1)
        )));
    }
    if size > shards {
        return Err(Error::World(format!(
            "{size} processes for {shards} micro-shards: start at most {shards} processes, or cut the batch into {size} \
             micro-shards (which starts another sequence of results)"
        )));
    }
    let each = shards / size;
    Ok(world.rank() * each..(world.rank() + 1) * each)
}

fn check_size(world: &dyn Communicator) -> Result<usize> {
    let size = world.size();
    if size.is_power_of_two() {
        return Ok(size);
    }
    Err(Error::World(format!(
        "{size} processes were started, but sums that do not depend on the number of processes need a power of two: start \
         {} or {}",
        size.next_power_of_two() / 2,
        size.next_power_of_two()
    )))
}

/// The sum of one rank's shards, taken in one at a time. Like a binary counter: two subtrees of equal height
/// merge at once, so that k shards need at most log2(k) + 2 buffers, which are reused.
#[derive(Debug, Default)]
pub struct TreeSum {
    /// Complete subtrees from left to right, each with its height; heights decrease.
    subtrees: Vec<(u32, Vec<f32>)>,
    /// Buffers whose numbers went into a sum.
    spare: Vec<Vec<f32>>,
}

impl TreeSum {
    /// A sum of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` zeros to write the next shard's numbers to.
    pub fn buffer(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(len, 0.0);
        buffer
    }

    /// Adds the next shard, in the order of the shard indices.
    ///
    /// # Errors
    /// [`Error::World`] when its length differs from that of the shards before.
    pub fn push(&mut self, shard: Vec<f32>) -> Result<()> {
        if let Some((_, other)) = self.subtrees.first().filter(|(_, other)| other.len() != shard.len()) {
            let (expected, found) = (other.len(), shard.len());
            return Err(Error::World(format!("a micro-shard of {found} numbers; those before it have {expected}")));
        }
        let (mut height, mut right) = (0, shard);
        while let Some((_, mut left)) = self.subtrees.pop_if(|(other, _)| *other == height) {
            add(&mut left, &right);
            self.spare.push(std::mem::replace(&mut right, left));
            height += 1;
        }
        self.subtrees.push((height, right));
        Ok(())
    }

    /// The sum over all shards taken in. The instance is then empty and keeps its buffers for the next step;
    /// hand the sum back with [`Self::recycle`] when it is used up.
    ///
    /// # Errors
    /// [`Error::World`] unless their number is a power of two.
    pub fn take(&mut self) -> Result<Vec<f32>> {
        match self.subtrees.as_slice() {
            [_] => Ok(self.subtrees.remove(0).1),
            subtrees => {
                let count: usize = subtrees.iter().map(|(height, _)| 1 << height).sum();
                Err(Error::World(format!("the canonical sum of {count} micro-shards: expected a power of two")))
            }
        }
    }

    /// Takes a buffer back for reuse.
    pub fn recycle(&mut self, buffer: Vec<f32>) {
        self.spare.push(buffer);
    }
}

/// Replaces `numbers` on every rank by the sum over the ranks, along the binary tree over the ranks: the same
/// bits on each. Recursive halving, pairing ranks at distance 1, 2, 4, … (so that neighbours are added first),
/// then the way back: each rank sends and receives 2(1 − 1/R)·n numbers.
///
/// All ranks pass equally many numbers. A buffer may be reduced piece by piece: the sum is per element.
///
/// # Errors
/// [`Error::World`] when the number of ranks is no power of two or a member is gone.
pub fn all_reduce(world: &dyn Communicator, numbers: &mut [f32]) -> Result<()> {
    let size = check_size(world)?;
    let mut received = vec![0.0; if size == 1 { 0 } else { numbers.len().div_ceil(2) }];
    let mut mine = 0..numbers.len();
    let mut halvings = Vec::new();
    for distance in (0..size.ilog2()).map(|bit| 1 << bit) {
        let lower = world.rank() & distance == 0;
        let (kept, given) = halves(&mut numbers[mine.clone()], lower);
        let received = &mut received[..kept.len()];
        world.exchange(world.rank() ^ distance, given, received)?;
        add(kept, received);
        halvings.push((distance, lower, mine.clone()));
        let start = if lower { mine.start } else { mine.end - kept.len() };
        mine = start..start + kept.len();
    }
    for (distance, lower, whole) in halvings.into_iter().rev() {
        let (kept, given) = halves(&mut numbers[whole], lower);
        world.exchange(world.rank() ^ distance, kept, given)?;
    }
    Ok(())
}

/// The half that this rank goes on with, and its peer's.
fn halves(numbers: &mut [f32], lower: bool) -> (&mut [f32], &mut [f32]) {
    let (low, high) = numbers.split_at_mut(numbers.len() / 2);
    if lower { (low, high) } else { (high, low) }
}

/// a ← a + b. Which operand stands left does not show in the bits: addition is commutative.
fn add(a: &mut [f32], b: &[f32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distributed::{Solo, threads};

    /// The definition: the sum of a run of shards is the sum of its left half plus the sum of its right half.
    fn plain_sum(shards: &[Vec<f32>]) -> Vec<f32> {
        let [shard] = shards else {
            let (left, right) = shards.split_at(shards.len() / 2);
            return plain_sum(left).iter().zip(plain_sum(right)).map(|(a, b)| a + b).collect();
        };
        shard.clone()
    }

    /// What each of `size` ranks holds after the reduction.
    fn distributed_sum(shards: &[Vec<f32>], size: usize) -> Vec<Vec<f32>> {
        let member = |world: threads::Threads| {
            let mut sum = TreeSum::new();
            for shard in &shards[owned_shards(&world, shards.len()).unwrap()] {
                let mut buffer = sum.buffer(shard.len());
                assert!(buffer.iter().all(|number| number.to_bits() == 0));
                buffer.copy_from_slice(shard);
                sum.push(buffer).unwrap();
            }
            let mut total = sum.take().unwrap();
            all_reduce(&world, &mut total).unwrap();
            total
        };
        std::thread::scope(|scope| {
            let members: Vec<_> =
                threads::group(size).into_iter().map(|world| scope.spawn(move || member(world))).collect();
            members.into_iter().map(|member| member.join().unwrap()).collect()
        })
    }

    /// Bits; all NaNs (from ∞ − ∞) count as one, since Rust leaves their payload open.
    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|number| if number.is_nan() { f32::NAN.to_bits() } else { number.to_bits() }).collect()
    }

    fn number() -> impl Strategy<Value = f32> {
        use prop::num::f32;
        prop_oneof![4 => f32::NORMAL, 8 => -1e3f32..1e3, 1 => f32::SUBNORMAL, 1 => f32::ZERO, 1 => f32::INFINITE]
    }

    fn shards() -> impl Strategy<Value = Vec<Vec<f32>>> {
        (prop_oneof![Just(8usize), Just(16), Just(32)], 0usize..70)
            .prop_flat_map(|(count, len)| prop::collection::vec(prop::collection::vec(number(), len), count))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn every_number_of_ranks_gives_the_bits_of_the_definition(shards in shards()) {
            let expected = bits(&plain_sum(&shards));
            for size in [1, 2, 4, 8] {
                for sum in distributed_sum(&shards, size) {
                    prop_assert_eq!(&bits(&sum), &expected, "{} ranks", size);
                }
            }
        }
    }

    #[test]
    fn the_order_of_addition_matters_to_the_numbers_tested() {
        let shards: Vec<_> = [1e8f32, 1.0, -1e8, 1.0].map(|number| vec![number]).to_vec();
        let left_to_right = shards.iter().fold(0.0, |sum, shard| sum + shard[0]);
        assert_ne!(plain_sum(&shards)[0], left_to_right);
        assert_eq!(distributed_sum(&shards, 2), vec![plain_sum(&shards); 2]);
    }

    #[test]
    fn few_buffers_serve_many_shards() {
        let mut sum = TreeSum::new();
        for step in 0..3 {
            for shard in 0..64 {
                let mut buffer = sum.buffer(5);
                buffer.fill((shard + step) as f32);
                sum.push(buffer).unwrap();
                assert!(sum.subtrees.len() + sum.spare.len() <= 8);
            }
            let total = sum.take().unwrap();
            assert_eq!(total, [(63 * 32 + 64 * step) as f32; 5]);
            sum.recycle(total);
        }
    }

    #[test]
    fn what_cannot_be_summed_is_refused() {
        let message = |result: Result<_>| result.map(|_: Range<usize>| ()).unwrap_err().to_string();
        assert!(
            message(owned_shards(&Solo, 12)).contains("12 micro-shards")
                && message(owned_shards(&Solo, 12)).contains("8 or 16")
        );
        assert!(message(owned_shards(&Solo, 0)).contains("0 micro-shards"));
        let three = threads::group(3);
        assert!(message(owned_shards(&three[0], 8)).contains("start 2 or 4"));
        assert!(all_reduce(&three[0], &mut [1.0]).is_err());
        let eight = threads::group(8);
        assert!(message(owned_shards(&eight[0], 4)).contains("at most 4 processes"));
        assert_eq!(owned_shards(&eight[5], 32).unwrap(), 20..24);

        let mut sum = TreeSum::new();
        assert!(sum.take().unwrap_err().to_string().contains("sum of 0"));
        (0..3).for_each(|_| sum.push(vec![1.0]).unwrap());
        assert!(sum.push(vec![1.0; 2]).unwrap_err().to_string().contains("2 numbers"));
        assert!(sum.take().unwrap_err().to_string().contains("sum of 3"));
    }
}
