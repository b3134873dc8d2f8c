//! What follows a step's gradient: its norm, and one pass over everything that is learnt.
//!
//! Both are shared out. Each process owns a part of the flat buffer ([`tree::part`]): it holds the summed gradient
//! there, updates the parameters there, and hands them to the others; within the process, threads share the part.
//! Nothing of it shows in the bits: the update of an element depends on that element alone, and the norm is summed
//! over blocks that are cut without regard to parts and threads.

use std::ops::Range;

use super::optimizer::Coefficients;
use super::side_by_side;
use crate::distributed::{Communicator, tree, vote};
use crate::{Error, Result};

/// Length of the blocks of the norm's sum; every part begins at a block.
pub const BLOCK: usize = 1 << 11;

/// The part of a buffer of `len` numbers that is this process's to update.
pub fn own_part(world: &dyn Communicator, len: usize) -> Range<usize> {
    tree::part(world.rank(), world.size(), len, BLOCK)
}

/// The L2 norm of a gradient of which each process holds its own part: squares are summed in f64 within each block,
/// then over the blocks in their order. Along with it, in the same message, `words` are gathered: those of all
/// processes, concatenated in the order of the ranks.
///
/// # Errors
/// [`Error::World`] when a member is gone.
pub fn norm(world: &dyn Communicator, gradient: &[f32], workers: usize, words: &[f64]) -> Result<(f64, Vec<f64>)> {
    let own = &gradient[own_part(world, gradient.len())];
    let pieces = own.chunks(share(own.len(), workers)).collect();
    let squares = |piece: &[f32]| -> Vec<f64> { piece.chunks(BLOCK).map(sum_of_squares).collect() };
    let mut message = side_by_side(pieces, squares).concat();
    message.extend(words);
    let mut blocks = vec![0.0; gradient.len().div_ceil(BLOCK)];
    let mut gathered = Vec::new();
    for (rank, row) in vote::rows(world, &message)?.iter().enumerate() {
        let part = tree::part(rank, world.size(), gradient.len(), BLOCK);
        let (squares, words) = row
            .split_at_checked(part.len().div_ceil(BLOCK))
            .ok_or_else(|| Error::World(format!("rank {rank} sent {} numbers, too few for its part", row.len())))?;
        let first = part.start.div_ceil(BLOCK);
        blocks[first..first + squares.len()].copy_from_slice(squares);
        gathered.extend(words);
    }
    Ok((blocks.iter().sum::<f64>().sqrt(), gathered))
}

/// In f64, in an order that is fixed: eight running sums let the compiler vectorise.
fn sum_of_squares(numbers: &[f32]) -> f64 {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums = [0.0f64; 8];
            let (eights, rest) = numbers.as_chunks::<8>();
            for eight in eights {
                for (sum, x) in sums.iter_mut().zip(eight) {
                    *sum += f64::from(*x) * f64::from(*x);
                }
            }
            let rest: f64 = rest.iter().map(|x| f64::from(*x).powi(2)).sum();
            sums.iter().sum::<f64>() + rest
        },
    )
}

/// A run of everything that an update reads and changes.
#[derive(Debug)]
pub struct Run<'a> {
    /// θ.
    pub parameters: &'a mut [f32],
    /// The gradient.
    pub gradient: &'a [f32],
    /// m.
    pub first_moment: &'a mut [f32],
    /// v.
    pub second_moment: &'a mut [f32],
    /// θ̄ with its share 1 − d of the new, where an average is kept.
    pub average: Option<(&'a mut [f32], f32)>,
}

impl<'a> Run<'a> {
    /// Updates the run, in pieces on `workers` threads.
    pub fn update(self, coefficients: Coefficients, workers: usize) {
        let each = share(self.gradient.len(), workers);
        let (mut rest, mut pieces) = (self, Vec::with_capacity(workers));
        while rest.gradient.len() > each {
            let piece;
            (piece, rest) = rest.split_at(each);
            pieces.push(piece);
        }
        pieces.push(rest);
        side_by_side(pieces, |piece| piece.update_here(coefficients));
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (parameters, parameters_rest) = self.parameters.split_at_mut(at);
        let (gradient, gradient_rest) = self.gradient.split_at(at);
        let (first_moment, first_moment_rest) = self.first_moment.split_at_mut(at);
        let (second_moment, second_moment_rest) = self.second_moment.split_at_mut(at);
        let (average, average_rest) = match self.average {
            None => (None, None),
            Some((average, share)) => {
                let (average, rest) = average.split_at_mut(at);
                (Some((average, share)), Some((rest, share)))
            }
        };
        let rest = Run {
            parameters: parameters_rest,
            gradient: gradient_rest,
            first_moment: first_moment_rest,
            second_moment: second_moment_rest,
            average: average_rest,
        };
        (Run { parameters, gradient, first_moment, second_moment, average }, rest)
    }

    /// One pass, in the widest vectors that the processor has.
    fn update_here(self, coefficients: Coefficients) {
        let Run { parameters, gradient, first_moment, second_moment, average } = self;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let moments = first_moment.iter_mut().zip(second_moment);
                let all = parameters.iter_mut().zip(gradient).zip(moments);
                match average {
                    None => all.for_each(|((theta, g), (m, v))| coefficients.apply(theta, *g, m, v)),
                    Some((average, share)) => all.zip(average).for_each(|(((theta, g), (m, v)), mean)| {
                        coefficients.apply(theta, *g, m, v);
                        *mean += share * (*theta - *mean);
                    }),
                }
            },
        );
    }
}

/// How much of `len` numbers each of `workers` threads takes: whole blocks.
fn share(len: usize, workers: usize) -> usize {
    len.div_ceil(workers.max(1)).next_multiple_of(BLOCK).max(BLOCK)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::distributed::threads;
    use crate::random::{Purpose, stream};
    use crate::train::{AdamW, OptimizerConfig, update_average};

    const LEN: usize = 5 * BLOCK + 123;

    /// Numbers of very different sizes.
    fn numbers(id: u64) -> Vec<f32> {
        let mut rng = stream(3, Purpose::Prior, 0, id);
        (0..LEN).map(|_| (rng.random::<f32>() - 0.5) * 2f32.powi(rng.random_range(-30..10))).collect()
    }

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn the_one_pass_gives_the_bits_of_the_plain_update_and_average() {
        let config = OptimizerConfig { weight_decay: 0.1, ..Default::default() };
        let squares = |id| numbers(id).iter().map(|x| x * x).collect();
        let start = AdamW::resume(config, numbers(1), squares(2));
        let (parameters, gradient, mean) = (numbers(3), numbers(4), numbers(5));
        let (mut plain, mut theta, mut average) = (start.clone(), parameters.clone(), mean.clone());
        plain.step(&mut theta, &gradient, 0.3, 1e-3, 7);
        update_average(&mut average, &theta, 0.99);
        for (workers, kept) in [(1, true), (2, true), (3, false), (64, true)] {
            let (mut found, mut found_theta, mut found_average) = (start.clone(), parameters.clone(), mean.clone());
            let run = Run {
                parameters: &mut found_theta,
                gradient: &gradient,
                first_moment: &mut found.first_moment,
                second_moment: &mut found.second_moment,
                average: kept.then_some((&mut found_average, (1.0 - 0.99) as f32)),
            };
            run.update(start.coefficients(0.3, 1e-3, 7), workers);
            assert_eq!(bits(&found_theta), bits(&theta), "{workers} workers");
            assert_eq!(bits(&found.first_moment), bits(&plain.first_moment));
            assert_eq!(bits(&found.second_moment), bits(&plain.second_moment));
            assert_eq!(bits(&found_average), bits(if kept { &average } else { &mean }));
        }
        assert_ne!(bits(&theta), bits(&parameters));
        assert_ne!(bits(&average), bits(&mean));
    }

    #[test]
    fn the_norm_depends_neither_on_processes_nor_on_threads() {
        let gradient = numbers(6);
        let plain = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let mut all = Vec::new();
        for (size, workers) in [(1, 1), (1, 3), (2, 1), (4, 2), (8, 1), (16, 1)] {
            let found: Vec<(f64, Vec<f64>)> = std::thread::scope(|scope| {
                let member = |world: threads::Threads| {
                    // What is outside of the own part has no meaning.
                    let mut mine = vec![f32::NAN; LEN];
                    let own = own_part(&world, LEN);
                    mine[own.clone()].copy_from_slice(&gradient[own]);
                    norm(&world, &mine, workers, &[world.rank() as f64, 0.5]).unwrap()
                };
                let members: Vec<_> =
                    threads::group(size).into_iter().map(|world| scope.spawn(move || member(world))).collect();
                members.into_iter().map(|member| member.join().unwrap()).collect()
            });
            let words: Vec<f64> = (0..size).flat_map(|rank| [rank as f64, 0.5]).collect();
            assert!(found.iter().all(|(_, gathered)| *gathered == words));
            all.extend(found.iter().map(|(norm, _)| norm.to_bits()));
        }
        assert!((f64::from_bits(all[0]) / plain - 1.0).abs() < 1e-12);
        assert!(all.iter().all(|norm| *norm == all[0]));
    }

    #[test]
    fn an_empty_buffer_is_fine() {
        assert_eq!(norm(&crate::distributed::Solo, &[], 2, &[1.0]).unwrap(), (0.0, vec![1.0]));
    }
}
