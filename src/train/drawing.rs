//! Drawing samples together: what samples are called, how they are cut into batches, and which process and thread draws
//! which. `qsd-sample` and the evaluation of a run do it alike.

use super::side_by_side;
use crate::Result;
use crate::distributed::{Communicator, vote};

/// One sample: the `number`-th of a source, which is a molecule or a length, given by its place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub source: usize,
    pub number: usize,
}

/// What the randomness of the `number`-th sample of a source is keyed by, besides the seed; `key` is the source's record
/// in its file or data set (or its length). So a sample is the same whatever else is drawn.
pub(crate) fn sample_id(key: u64, number: usize) -> u64 {
    key << 32 | number as u64
}

/// The samples of sources that are given by their points and how many samples are wanted, in order, cut into batches of
/// at most `batch_points` points; what is larger goes alone.
fn batches(sources: &[(usize, usize)], batch_points: usize) -> Vec<Vec<Item>> {
    let mut batches: Vec<Vec<Item>> = Vec::new();
    let mut room = 0;
    for (source, &(points, samples)) in sources.iter().enumerate() {
        for number in 0..samples {
            if points > room || batches.is_empty() {
                batches.push(Vec::new());
                room = batch_points;
            }
            room = room.saturating_sub(points);
            if let Some(batch) = batches.last_mut() {
                batch.push(Item { source, number });
            }
        }
    }
    batches
}

/// The processes of a job and their threads, doing as many pieces of work at a time.
pub(crate) struct Team<'a> {
    world: &'a dyn Communicator,
    workers: usize,
}

impl<'a> Team<'a> {
    /// Of `workers` threads, or fewer where another process has fewer: rounds are the same on every rank, though their
    /// cores may not be.
    pub fn new(world: &'a dyn Communicator, workers: usize) -> Result<Self> {
        let workers = vote::min(world, &[workers as f64])?[0] as usize;
        Ok(Team { world, workers: workers.max(1) })
    }

    /// How many pieces of work are done in a round.
    pub fn size(&self) -> usize {
        self.world.size() * self.workers
    }

    /// The samples of sources that are given by their points and how many samples are wanted, in order, cut into batches
    /// of at most `batch_points` points (what is larger goes alone): no more rounds than these need, and the batches as
    /// even as that allows, so that no worker waits long for another.
    pub fn batches(&self, sources: impl IntoIterator<Item = (usize, usize)>, batch_points: usize) -> Vec<Vec<Item>> {
        let sources: Vec<_> = sources.into_iter().collect();
        let allowed = batches(&sources, batch_points).len().next_multiple_of(self.size());
        // The least number of points that does; fewer points never make fewer batches.
        let (mut enough, mut least) = (batch_points, 0);
        while least < enough {
            let middle = least.midpoint(enough);
            if batches(&sources, middle).len() <= allowed {
                enough = middle;
            } else {
                least = middle + 1;
            }
        }
        batches(&sources, enough)
    }

    /// Does up to [`Team::size`] pieces of work, each process a run of consecutive ones, a thread each; the numbers that
    /// they give, in the order of the pieces, on every process. `work` is told the place of its piece in the process's
    /// run.
    ///
    /// # Errors
    /// The failure of the first process that failed, on all.
    pub fn round<J: Sync>(&self, jobs: &[J], work: impl Fn(usize, &J) -> Result<Vec<f64>> + Sync) -> Result<Vec<f64>> {
        let mine = jobs.chunks(self.workers).nth(self.world.rank()).unwrap_or(&[]);
        let done = side_by_side(mine.iter().enumerate().collect(), |(k, job)| work(k, job));
        let words = vote::consent(self.world, done.into_iter().collect::<Result<Vec<_>>>())?;
        vote::gather(self.world, &words.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::distributed::{Solo, threads};

    #[test]
    fn batches_hold_every_sample_once_in_order() {
        let found = batches(&[(4, 3), (30, 2), (1, 0), (5, 4), (5, 1)], 10);
        let places = |batch: &Vec<Item>| batch.iter().map(|item| (item.source, item.number)).collect::<Vec<_>>();
        let expected: [&[(usize, usize)]; 7] =
            [&[(0, 0), (0, 1)], &[(0, 2)], &[(1, 0)], &[(1, 1)], &[(3, 0), (3, 1)], &[(3, 2), (3, 3)], &[(4, 0)]];
        assert_eq!(found.iter().map(places).collect::<Vec<_>>(), expected);
        assert!(batches(&[], 10).is_empty());
        assert_eq!(batches(&[(0, 2)], 0).concat().len(), 2);
    }

    #[test]
    fn batches_are_even_and_fill_whole_rounds() {
        let sizes = |workers, sources: &[(usize, usize)], points| -> Vec<usize> {
            let team = Team::new(&Solo, workers).unwrap();
            let batches = team.batches(sources.iter().copied(), points);
            assert_eq!(batches.concat(), super::batches(sources, points).concat(), "{workers} workers");
            let points = |batch: &Vec<Item>| batch.iter().map(|item| sources[item.source].0).sum();
            batches.iter().map(points).collect()
        };
        let ten = [(44, 10)];
        assert_eq!(sizes(1, &ten, 1000), [440]);
        assert_eq!(sizes(2, &ten, 1000), [220, 220]);
        assert_eq!(sizes(4, &ten, 1000), [132, 132, 132, 44]);
        assert_eq!(sizes(16, &ten, 1000), [44; 10]);
        // Three batches would do; the fourth worker gets its share.
        assert_eq!(sizes(2, &ten, 200), [132, 132, 132, 44]);
        assert_eq!(sizes(2, &[(30, 2), (5, 6)], 50), [30, 30, 15, 15]);
        assert_eq!(sizes(2, &[(5, 7)], 0), [5; 7]);
        assert_eq!(sizes(3, &[], 10), [0; 0]);
    }

    #[test]
    fn a_round_gives_the_same_whoever_works() {
        let jobs: Vec<u64> = (0..8).collect();
        let work = |_: usize, job: &u64| Ok((0..*job).map(|k| (10 * job + k) as f64).collect());
        let expected: Vec<f64> = jobs.iter().flat_map(|job| (0..*job).map(move |k| (10 * job + k) as f64)).collect();
        for (size, workers) in [(1, 8), (2, 4), (4, 2), (8, 1)] {
            let member = |world: threads::Threads| {
                // The first process could do more; the others cannot.
                let team = Team::new(&world, if world.rank() == 0 { workers } else { workers + 1 }).unwrap();
                assert_eq!(team.size(), 8);
                let failing = team.round(&jobs, |_, job| match job {
                    5 => Err(Error::Data("job 5".into())),
                    _ => Ok(Vec::new()),
                });
                (team.round(&jobs, work).unwrap(), failing.unwrap_err().to_string())
            };
            std::thread::scope(|scope| {
                let members: Vec<_> =
                    threads::group(size).into_iter().map(|world| scope.spawn(move || member(world))).collect();
                for (found, error) in members.into_iter().map(|member| member.join().unwrap()) {
                    assert_eq!(found, expected, "{size} processes");
                    assert!(error.ends_with("job 5"), "{error}");
                }
            });
        }
    }
}
