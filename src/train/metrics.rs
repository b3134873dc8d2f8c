//! Sums over clouds that processes exchange, and the means that are logged.

use crate::diffusion::Evaluation;

/// Equal bins of the time t in which the loss is logged separately.
pub const TIME_BINS: usize = 5;

/// How many numbers [`ShardSums`] is on the wire.
const WORDS: usize = 7 + 2 * TIME_BINS;

/// Sums over the clouds of one micro-shard (or of several, added in their order).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShardSums {
    /// Clouds.
    pub clouds: f64,
    /// Points.
    pub points: f64,
    /// Losses.
    pub loss: f64,
    /// Squared horizontal parts of the residual: errors of the shape, Å² per point.
    pub horizontal: f64,
    /// Squared vertical parts: errors that are rigid rotations, Å² per point.
    pub vertical: f64,
    /// Clouds and losses by bin of t.
    pub bins: [[f64; 2]; TIME_BINS],
    /// Seconds in the forward pass.
    pub forward_seconds: f64,
    /// Seconds in the backward pass.
    pub backward_seconds: f64,
}

impl ShardSums {
    /// The sums of one evaluation at times `t` over `points` points.
    pub fn of(t: &[f64], evaluation: &Evaluation, points: usize) -> Self {
        let mut sums = ShardSums { clouds: t.len() as f64, points: points as f64, ..Default::default() };
        for (b, t) in t.iter().enumerate() {
            let loss = evaluation.loss[b];
            sums.loss += loss;
            sums.horizontal += evaluation.horizontal[b];
            sums.vertical += evaluation.vertical[b];
            let bin = &mut sums.bins[((t * TIME_BINS as f64) as usize).min(TIME_BINS - 1)];
            bin[0] += 1.0;
            bin[1] += loss;
        }
        sums
    }

    /// The sums as numbers to exchange.
    pub fn to_words(self) -> [f64; WORDS] {
        let mut words = [0.0; WORDS];
        let plain = [
            self.clouds,
            self.points,
            self.loss,
            self.horizontal,
            self.vertical,
            self.forward_seconds,
            self.backward_seconds,
        ];
        words[..7].copy_from_slice(&plain);
        words[7..].copy_from_slice(self.bins.as_flattened());
        words
    }

    /// The total of sums that were exchanged, added in the order given.
    pub fn total(words: &[f64]) -> Self {
        let mut sum = [0.0; WORDS];
        for row in words.chunks_exact(WORDS) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
        let mut bins = [[0.0; 2]; TIME_BINS];
        bins.as_flattened_mut().copy_from_slice(&sum[7..]);
        let [clouds, points, loss, horizontal, vertical, forward_seconds, backward_seconds] =
            *sum.first_chunk().unwrap_or(&[0.0; 7]);
        ShardSums { clouds, points, loss, horizontal, vertical, bins, forward_seconds, backward_seconds }
    }

    /// Adds another's sums.
    pub fn add(&mut self, other: &Self) {
        *self = Self::total(&[self.to_words(), other.to_words()].concat());
    }

    /// The means to log: loss, its parts and its bins of t, under names that begin with `prefix`.
    pub fn means(&self, prefix: &str) -> Vec<(String, f64)> {
        let per_cloud = |x: f64| x / self.clouds;
        let mut means = vec![
            (format!("{prefix}/loss"), per_cloud(self.loss)),
            (format!("{prefix}/horizontal"), per_cloud(self.horizontal)),
            (format!("{prefix}/vertical"), per_cloud(self.vertical)),
        ];
        for (i, [clouds, loss]) in self.bins.iter().enumerate().filter(|(_, bin)| bin[0] > 0.0) {
            let (from, to) = (i as f64 / TIME_BINS as f64, (i + 1) as f64 / TIME_BINS as f64);
            means.push((format!("{prefix}/loss_t_{from:.1}-{to:.1}"), loss / clouds));
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_survive_the_exchange() {
        let sums = ShardSums {
            clouds: 1.0,
            points: 2.0,
            loss: 3.0,
            horizontal: 4.0,
            vertical: 5.0,
            bins: [[1.0, 6.0], [0.0; 2], [0.0; 2], [0.0; 2], [2.0, 7.0]],
            forward_seconds: 8.0,
            backward_seconds: 9.0,
        };
        assert_eq!(ShardSums::total(&sums.to_words()), sums);
        let mut twice = sums;
        twice.add(&sums);
        assert_eq!((twice.loss, twice.bins[4]), (6.0, [4.0, 14.0]));
        let means = twice.means("train");
        assert!(means.contains(&("train/loss".into(), 3.0)) && means.contains(&("train/loss_t_0.8-1.0".into(), 3.5)));
        assert_eq!(means.len(), 5, "empty bins are left out");
    }
}
