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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Communicator;
use crate::{Error, Result};

/// How many numbers are added at a time while they are in the innermost cache.
const BLOCK: usize = 4096;

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
///
/// A shard may be taken in whole ([`Self::push`]), or piece by piece while it is being computed, when each piece is
/// still in the core's cache ([`Self::merge`], then [`Self::push_merged`]).
#[derive(Debug, Default)]
pub struct TreeSum {
    /// Complete subtrees from left to right, each with its height; heights decrease.
    subtrees: Vec<(u32, Vec<f32>)>,
    /// Buffers whose numbers went into a sum.
    spare: Pool,
}

/// Buffers to be used again; its clones hold the same ones.
#[derive(Clone, Debug, Default)]
struct Pool(Arc<Mutex<Vec<Vec<f32>>>>);

impl Pool {
    fn list(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        // A list of buffers is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TreeSum {
    /// A sum of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sum of nothing that shares its unused buffers with this one.
    pub fn sibling(&self) -> Self {
        TreeSum { subtrees: Vec::new(), spare: self.spare.clone() }
    }

    /// A buffer of `len` numbers, whatever they are, to overwrite with the next shard's.
    pub fn buffer(&mut self, len: usize) -> Vec<f32> {
        let spare = self.spare.list().pop();
        let mut buffer = spare.filter(|buffer| buffer.len() == len).unwrap_or_else(|| vec![0.0; len]);
        if cfg!(debug_assertions) {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// Adds to `numbers`, which stand in the next shard from `start` on, those of the subtrees that the shard
    /// completes. Each number of the shard is to pass here once, or to be pushed by [`Self::push`].
    ///
    /// # Panics
    /// If there are no such places.
    pub fn merge(&self, start: usize, numbers: &mut [f32]) {
        // Several subtrees are added to one cache's worth at a time.
        for (block, at) in numbers.chunks_mut(BLOCK).zip((start..).step_by(BLOCK)) {
            for (_, subtree) in self.completed() {
                add(block, &subtree[at..at + block.len()]);
            }
        }
    }

    /// How many subtrees the next shard completes.
    pub fn merges(&self) -> usize {
        self.completed().count()
    }

    /// The subtrees that the next shard completes, the smallest first.
    fn completed(&self) -> impl Iterator<Item = &(u32, Vec<f32>)> {
        self.subtrees.iter().rev().zip(0..).take_while(|((height, _), next)| height == next).map(|(subtree, _)| subtree)
    }

    /// Takes in the next shard, all of whose numbers have passed through [`Self::merge`].
    ///
    /// # Errors
    /// [`Error::World`] when its length differs from that of the shards before.
    pub fn push_merged(&mut self, shard: Vec<f32>) -> Result<()> {
        self.check(&shard)?;
        let height = self.merges();
        let merged = self.subtrees.drain(self.subtrees.len() - height..).map(|(_, buffer)| buffer);
        self.spare.list().extend(merged);
        self.subtrees.push((height as u32, shard));
        Ok(())
    }

    /// Adds the next shard, in the order of the shard indices.
    ///
    /// # Errors
    /// [`Error::World`] when its length differs from that of the shards before.
    pub fn push(&mut self, mut shard: Vec<f32>) -> Result<()> {
        self.check(&shard)?;
        self.merge(0, &mut shard);
        self.push_merged(shard)
    }

    fn check(&self, shard: &[f32]) -> Result<()> {
        match self.subtrees.first() {
            Some((_, other)) if other.len() != shard.len() => {
                let (expected, found) = (other.len(), shard.len());
                Err(Error::World(format!("a micro-shard of {found} numbers; those before it have {expected}")))
            }
            _ => Ok(()),
        }
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
        self.spare.list().push(buffer);
    }
}

/// Replaces `numbers` on every rank by the sum over the ranks, along the binary tree over the ranks: the same
/// bits on each. Each rank sends and receives 2(1 − 1/R)·n numbers.
///
/// # Errors
/// As [`reduce_scatter`].
pub fn all_reduce(world: &dyn Communicator, numbers: &mut [f32]) -> Result<()> {
    reduce_scatter(world, numbers, 1, &mut Vec::new())?;
    all_gather(world, numbers, 1)
}

/// The first half of [`all_reduce`]: each rank gets the sum in its [`part`], which is returned, and numbers of no
/// meaning elsewhere. Recursive halving, pairing ranks at distance 1, 2, 4, … (so that neighbours are added first).
///
/// All ranks pass equally many numbers. A buffer may be reduced piece by piece: the sum is per element. What is
/// received goes to `scratch`, which grows to the half of that many.
///
/// # Errors
/// [`Error::World`] when the number of ranks is no power of two or a member is gone.
pub fn reduce_scatter(
    world: &dyn Communicator,
    numbers: &mut [f32],
    multiple: usize,
    scratch: &mut Vec<f32>,
) -> Result<Range<usize>> {
    let halvings = halvings(world.rank(), check_size(world)?, numbers.len(), multiple);
    let longest = halvings.first().map_or(0, |halving| halving.kept.len());
    if scratch.len() < longest {
        scratch.resize(longest, 0.0);
    }
    for halving in &halvings {
        let (kept, given) = halving.of(numbers);
        let received = &mut scratch[..kept.len()];
        world.exchange(halving.peer, given, received)?;
        add(kept, received);
    }
    Ok(part(world.rank(), world.size(), numbers.len(), multiple))
}

/// The second half of [`all_reduce`]: each rank gives its [`part`] and gets those of the others.
///
/// # Errors
/// As [`reduce_scatter`].
pub fn all_gather(world: &dyn Communicator, numbers: &mut [f32], multiple: usize) -> Result<()> {
    for halving in halvings(world.rank(), check_size(world)?, numbers.len(), multiple).into_iter().rev() {
        let (kept, given) = halving.of(numbers);
        world.exchange(halving.peer, kept, given)?;
    }
    Ok(())
}

/// The run of a buffer of `len` numbers that is a rank's own after [`reduce_scatter`]. The runs of all ranks are
/// disjoint and cover the buffer; each begins at a multiple of `multiple`.
pub fn part(rank: usize, size: usize, len: usize, multiple: usize) -> Range<usize> {
    halvings(rank, size, len, multiple).pop().map_or(0..len, |last| last.kept)
}

/// One round of recursive halving.
struct Halving {
    peer: usize,
    /// Whether this rank keeps the first half.
    lower: bool,
    /// The half that this rank goes on with.
    kept: Range<usize>,
    /// The half that its peer goes on with.
    given: Range<usize>,
}

impl Halving {
    /// The two halves of the buffer.
    fn of<'a>(&self, numbers: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let (low, high) = if self.lower { (&self.kept, &self.given) } else { (&self.given, &self.kept) };
        let (first, second) = numbers[low.start..high.end].split_at_mut(low.len());
        if self.lower { (first, second) } else { (second, first) }
    }
}

/// The rounds of a rank's recursive halving of `len` numbers; every half begins at a multiple of `multiple`.
fn halvings(rank: usize, size: usize, len: usize, multiple: usize) -> Vec<Halving> {
    let mut mine = 0..len;
    let round = |bit: u32| {
        let middle = (mine.start + (mine.len() / 2).next_multiple_of(multiple)).min(mine.end);
        let (low, high) = (mine.start..middle, middle..mine.end);
        let lower = rank >> bit & 1 == 0;
        let (kept, given) = if lower { (low, high) } else { (high, low) };
        mine = kept.clone();
        Halving { peer: rank ^ 1 << bit, lower, kept, given }
    };
    (0..size.ilog2()).map(round).collect()
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

    /// What each of `size` ranks holds after the reduction, in parts that begin at multiples of `multiple`.
    fn distributed_sum(shards: &[Vec<f32>], size: usize, multiple: usize) -> Vec<Vec<f32>> {
        let member = |world: threads::Threads| {
            let mut sum = TreeSum::new();
            for (k, shard) in shards[owned_shards(&world, shards.len()).unwrap()].iter().enumerate() {
                let mut buffer = sum.buffer(shard.len());
                buffer.copy_from_slice(shard);
                if k % 3 == 0 {
                    sum.push(buffer).unwrap();
                    continue;
                }
                let third = buffer.len() / 3;
                sum.merge(third, &mut buffer[third..]);
                sum.merge(0, &mut buffer[..third]);
                sum.push_merged(buffer).unwrap();
            }
            let mut total = sum.take().unwrap();
            let mine = reduce_scatter(&world, &mut total, multiple, &mut Vec::new()).unwrap();
            assert_eq!(mine, part(world.rank(), size, total.len(), multiple));
            assert!(mine.start.is_multiple_of(multiple) || mine.is_empty());
            (0..total.len()).filter(|k| !mine.contains(k)).for_each(|k| total[k] = -7.0);
            all_gather(&world, &mut total, multiple).unwrap();
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
        fn every_number_of_ranks_gives_the_bits_of_the_definition(shards in shards(), multiple in 1usize..20) {
            let expected = bits(&plain_sum(&shards));
            for size in [1, 2, 4, 8] {
                for sum in distributed_sum(&shards, size, multiple) {
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
        assert_eq!(distributed_sum(&shards, 2, 1), vec![plain_sum(&shards); 2]);
    }

    /// Buffers larger than a block.
    #[test]
    fn long_buffers_are_summed_in_blocks() {
        let len = 5 * BLOCK + 77;
        let shard = |k: usize| (0..len).map(|i| (i * (k + 1) % 1001) as f32 * 1.1f32.powi(k as i32 * 9)).collect();
        let shards: Vec<Vec<f32>> = (0..4).map(shard).collect();
        let expected = bits(&plain_sum(&shards));
        for (size, multiple) in [(1, 1), (2, 1), (4, 8192)] {
            let sums = distributed_sum(&shards, size, multiple);
            assert!(sums.iter().all(|sum| bits(sum) == expected), "{size} ranks");
        }
    }

    #[test]
    fn few_buffers_serve_many_shards() {
        let mut sum = TreeSum::new();
        for step in 0..3 {
            for shard in 0..64 {
                let mut buffer = sum.buffer(5);
                buffer.fill((shard + step) as f32);
                sum.push(buffer).unwrap();
                assert!(sum.subtrees.len() + sum.spare.list().len() <= 8);
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
