//! Where this process is in its work, kept so that the message of a failure can name it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Reading configuration and state, joining the group.
    Start,
    /// Waiting for data.
    Load,
    /// Computing predictions.
    Forward,
    /// Computing gradients.
    Backward,
    /// Summing over the group.
    Reduce,
    /// Changing the parameters.
    Update,
    /// Evaluating.
    Evaluate,
    /// Handing over or writing a checkpoint.
    Save,
    /// Ending.
    Stop,
}

const PHASES: [&str; 9] = ["start", "load", "forward", "backward", "reduce", "update", "evaluate", "save", "stop"];

static STEP: AtomicU64 = AtomicU64::new(0);
static PHASE: AtomicU8 = AtomicU8::new(Phase::Start as u8);

/// Notes the step that begins.
pub fn set_step(step: u64) {
    STEP.store(step, Relaxed);
}

/// Notes the phase that begins.
pub fn enter(phase: Phase) {
    PHASE.store(phase as u8, Relaxed);
}

/// `step 17, phase backward`.
pub fn describe() -> String {
    format!("step {}, phase {}", STEP.load(Relaxed), PHASES[usize::from(PHASE.load(Relaxed))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_name() {
        for (phase, name) in [(Phase::Load, "load"), (Phase::Save, "save"), (Phase::Stop, "stop")] {
            assert_eq!(PHASES[phase as usize], name);
        }
        set_step(17);
        enter(Phase::Backward);
        assert_eq!(describe(), "step 17, phase backward");
    }
}
