//! Saves one checkpoint after another until it is killed, as a training run would:
//!
//! ```text
//! checkpoint_loop DIR        prints `saved STEP` whenever a checkpoint is known to be on disk
//! ```
//!
//! It goes on after the newest healthy checkpoint, whose numbers must be those of its step.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use qsd::model::Layout;
use qsd::train::checkpoint::{Retention, Saved, Snapshot, Writer, load, newest_healthy};
use qsd::{Error, Result};

fn main() -> ExitCode {
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| "checkpoints".into());
    match run(Path::new(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(dir: &Path) -> Result<()> {
    let layout = layout();
    let mut writer = Writer::open(dir, Retention { keep_last: NonZeroUsize::MIN, keep_best: false })?;
    let mut step = resume(dir, &layout)?;
    println!("resumed {step}");
    loop {
        step += 1;
        if let Some(Saved { step, .. }) = writer.save(snapshot(step, &layout), false)?.previous {
            println!("saved {step}");
        }
    }
}

fn layout() -> Arc<Layout> {
    let mut layout = Layout::default();
    for i in 0..8 {
        layout.push(format!("layers.{i}.weight"), &[100, 50]);
    }
    Arc::new(layout)
}

/// The step of the newest healthy checkpoint, 0 if there is none.
fn resume(dir: &Path, layout: &Arc<Layout>) -> Result<u64> {
    let search = newest_healthy(dir)?;
    if let Some(damaged) = search.rejected.first() {
        return Err(Error::Checkpoint(format!("a damaged checkpoint is in sight: {}", damaged.cause)));
    }
    let Some(path) = search.found else {
        return Ok(0);
    };
    let loaded = load(&path, layout)?;
    if loaded != snapshot(loaded.step, layout) {
        return Err(Error::Checkpoint(format!("{} holds other numbers than were saved", path.display())));
    }
    Ok(loaded.step)
}

/// A state that is a function of the step.
fn snapshot(step: u64, layout: &Arc<Layout>) -> Snapshot {
    let numbers = |of: f32| (0..layout.len()).map(|i| of + (step as f32).sin() * i as f32).collect();
    Snapshot {
        step,
        layout: layout.clone(),
        parameters: numbers(0.0),
        first_moment: numbers(0.1),
        second_moment: numbers(0.2),
        ema: Some(numbers(0.3)),
        state: serde_json::json!({ "step": step }),
    }
}
