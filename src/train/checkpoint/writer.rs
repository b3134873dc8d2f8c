//! Saving while training goes on.

use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::{Retention, Snapshot, mark_best, save, sweep};
use crate::{Error, Result};

/// A checkpoint that was written.
#[derive(Clone, Debug)]
pub struct Saved {
    /// After how many steps.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// How long writing took.
    pub took: Duration,
    /// Older ones that were deleted then.
    pub deleted: Vec<PathBuf>,
}

/// What became of a snapshot's handing over.
#[derive(Clone, Debug)]
pub struct Handed {
    /// How long training stood still, waiting for the save before this one.
    pub waited: Duration,
    /// The save before this one, unless [`Writer::poll`] has told of it.
    pub previous: Option<Saved>,
}

/// Writes checkpoints on a thread of its own, one at a time, and deletes old ones after each. What went wrong in
/// the background is reported by the next call; call [`Writer::finish`] to hear of the last.
pub struct Writer {
    dir: PathBuf,
    retention: Retention,
    pub(super) under_way: Option<JoinHandle<Result<Saved>>>,
}

impl Writer {
    /// A writer into `dir`, after clearing what a dead one left there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path, retention: Retention) -> Result<Self> {
        sweep(dir)?;
        Ok(Self { dir: dir.to_path_buf(), retention, under_way: None })
    }

    /// Hands a snapshot over and returns at once, unless the one before is still being written, which is waited
    /// for. `is_best` marks it as the one that retention spares.
    ///
    /// # Errors
    /// What went wrong with the save before; then this snapshot was not taken.
    pub fn save(&mut self, snapshot: Snapshot, is_best: bool) -> Result<Handed> {
        let start = Instant::now();
        let previous = self.finish()?;
        let waited = start.elapsed();
        let (dir, retention) = (self.dir.clone(), self.retention);
        let thread = Builder::new().name("checkpoint".into()).spawn(move || write(&dir, retention, &snapshot, is_best));
        self.under_way = Some(thread.map_err(Error::io(&self.dir))?);
        Ok(Handed { waited, previous })
    }

    /// The save under way, if it is done by now; does not wait.
    ///
    /// # Errors
    /// What went wrong with it.
    pub fn poll(&mut self) -> Result<Option<Saved>> {
        if self.under_way.as_ref().is_some_and(JoinHandle::is_finished) { self.finish() } else { Ok(None) }
    }

    /// Waits for the save under way.
    ///
    /// # Errors
    /// What went wrong with it.
    pub fn finish(&mut self) -> Result<Option<Saved>> {
        let Some(thread) = self.under_way.take() else {
            return Ok(None);
        };
        let panicked = |_| Err(Error::Checkpoint(format!("{}: the checkpoint writer panicked", self.dir.display())));
        thread.join().unwrap_or_else(panicked).map(Some)
    }
}

impl Drop for Writer {
    /// Lets the save under way end, so that leaving early does not lose it.
    fn drop(&mut self) {
        if let Some(thread) = self.under_way.take() {
            drop(thread.join());
        }
    }
}

fn write(dir: &Path, retention: Retention, snapshot: &Snapshot, is_best: bool) -> Result<Saved> {
    let start = Instant::now();
    let path = save(dir, snapshot)?;
    // Before retention looks, so that the best is never among those that go.
    if is_best {
        mark_best(dir, &path)?;
    }
    let took = start.elapsed();
    Ok(Saved { step: snapshot.step, path, took, deleted: retention.apply(dir)? })
}
