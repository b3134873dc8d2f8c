//! Which checkpoints stay.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::folder::{delete, newest_first, point, verify};
use crate::{Error, Result};

/// Names the checkpoint that scored best.
const BEST: &str = "best";

/// How many checkpoints to keep.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// So many of the newest healthy ones.
    pub keep_last: NonZeroUsize,
    /// And the one that [`mark_best`] named last.
    pub keep_best: bool,
}

impl Retention {
    /// Deletes what is older than the newest `keep_last` healthy checkpoints in `dir`, except the best, and
    /// returns what it deleted. Only checkpoints that are verified count, so the last healthy one always stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn apply(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let best = if self.keep_best { best(dir)? } else { None };
        let (mut healthy, mut deleted) = (0, Vec::new());
        for name in newest_first(dir)? {
            let path = dir.join(&name);
            if healthy < self.keep_last.get() {
                healthy += usize::from(verify(&path).is_ok());
            } else if best.as_ref() != Some(&name) {
                delete(dir, &name)?;
                deleted.push(path);
            }
        }
        Ok(deleted)
    }
}

/// Notes that the checkpoint `path` in `dir` scored best so far.
///
/// # Errors
/// [`Error::Checkpoint`] when it is not a healthy checkpoint in `dir`; [`Error::Io`].
pub fn mark_best(dir: &Path, path: &Path) -> Result<()> {
    verify(path)?;
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| dir.join(name) == path);
    let name = name.ok_or_else(|| Error::Checkpoint(format!("{} is not in {}", path.display(), dir.display())))?;
    point(dir, BEST, name)
}

/// The name that [`mark_best`] wrote last.
fn best(dir: &Path) -> Result<Option<String>> {
    let path = dir.join(BEST);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        name => Ok(Some(name.map_err(Error::io(&path))?.trim_end().to_string())),
    }
}
