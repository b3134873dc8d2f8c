//! `qsd-train inspect`: what a checkpoint is.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{self, weights_sha256};
use super::state::SavedState;
use crate::Result;
use crate::model;

/// Describes a checkpoint, or the newest healthy one of a run's folder, a `name value` line each.
///
/// # Errors
/// [`crate::Error::Checkpoint`] when there is none, or it is damaged.
pub fn inspect(path: &Path) -> Result<String> {
    let opened = checkpoint::load_for_sampling(path)?;
    let saved = SavedState::parse(&opened.state)?;
    let network = model::network(&saved.config.model, saved.config.compute)?;
    let snapshot = checkpoint::load(opened.path(), &Arc::new(network.layout().clone()))?;
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name} {value}");
    };
    line("checkpoint", &opened.path().display());
    line("step", &saved.position.step);
    line("samples seen", &saved.position.sample);
    line("world size", &saved.world_size);
    line("seed", &saved.config.seed);
    if let Some(best) = saved.best {
        line("best validation loss", &format_args!("{} at step {}", best.loss, best.step));
    }
    line("parameters", &snapshot.parameters.len());
    line("averaged parameters", &if snapshot.ema.is_some() { "yes" } else { "no" });
    line("qsd version", &saved.version);
    line("config sha256", &saved.config_sha256);
    line("data sha256", &saved.data_sha256);
    line("weights sha256", &weights_sha256(&snapshot.parameters));
    Ok(text)
}
