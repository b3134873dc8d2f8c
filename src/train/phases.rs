//! Where a step's time goes.

use std::time::Instant;

use crate::distributed::status;
pub use crate::distributed::status::Phase;

/// The phases that are logged, with their names.
const LOGGED: [(Phase, &str); 8] = [
    (Phase::Load, "data_wait"),
    (Phase::Forward, "forward"),
    (Phase::Backward, "backward"),
    (Phase::Reduce, "all_reduce"),
    (Phase::Update, "optimizer"),
    (Phase::Evaluate, "validation"),
    (Phase::Save, "checkpoint"),
    (Phase::Start, "other"),
];

/// Seconds by phase since the last record.
#[derive(Clone, Debug)]
pub struct Phases {
    seconds: [f64; LOGGED.len()],
    since: Instant,
}

impl Phases {
    /// Starts the clock.
    pub fn new() -> Self {
        Phases { seconds: [0.0; LOGGED.len()], since: Instant::now() }
    }

    /// Runs `work` as this phase, for the clock and for the message of a failure.
    pub fn time<T>(&mut self, phase: Phase, work: impl FnOnce() -> T) -> T {
        status::enter(phase);
        let start = Instant::now();
        let result = work();
        self.add(phase, start.elapsed().as_secs_f64());
        result
    }

    /// Adds seconds to a phase.
    pub fn add(&mut self, phase: Phase, seconds: f64) {
        if let Some(i) = LOGGED.iter().position(|(logged, _)| *logged == phase) {
            self.seconds[i] += seconds;
        }
    }

    /// Moves the share of the forward pass to the backward pass, which ran under the forward's clock on several
    /// threads: their own clocks tell the proportion.
    pub fn split_forward(&mut self, wall: f64, forward: f64, backward: f64) {
        if forward + backward > 0.0 {
            let share = wall * backward / (forward + backward);
            self.add(Phase::Forward, -share);
            self.add(Phase::Backward, share);
        }
    }

    /// Seconds since the clock started.
    pub fn wall(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// Seconds per step of each phase over `steps` steps, and of what no phase covers.
    pub fn per_step(&self, steps: f64) -> Vec<(String, f64)> {
        let covered: f64 = self.seconds.iter().sum();
        let other = (self.wall() - covered).max(0.0);
        let names = LOGGED.iter().zip(self.seconds);
        names
            .map(|((phase, name), seconds)| {
                let seconds = if *phase == Phase::Start { other } else { seconds };
                (format!("time/{name}"), seconds / steps)
            })
            .collect()
    }
}
