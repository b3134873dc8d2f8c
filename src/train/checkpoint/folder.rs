//! The folder of a run's checkpoints: writing one at once, finding the newest that is healthy, sweeping up.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, Stored};
use super::{MANIFEST, Snapshot};
use crate::{Error, Result};

/// Names the checkpoint written last.
const LATEST: &str = "latest";
/// What a checkpoint's folder name begins with.
const STEP: &str = "step-";
/// A checkpoint that is being written.
const WRITING: &str = ".writing-";
/// A checkpoint that gives way to another one of the same step.
const REPLACED: &str = ".replaced-";
/// A checkpoint that is being deleted.
const DELETING: &str = ".deleting-";

/// Writes a checkpoint into `dir` (made if need be) and returns its folder. When this returns, it is on disk and
/// survives a crash of the machine; when it fails or the process dies, the checkpoints before are untouched.
///
/// Only one process may write to `dir`.
///
/// # Errors
/// Those of [`Snapshot::check`], which touch nothing; [`Error::Io`].
pub fn save(dir: &Path, snapshot: &Snapshot) -> Result<PathBuf> {
    snapshot.check()?;
    let mut files = snapshot.encode()?;
    let manifest = Manifest::new(snapshot.step, &files);
    let name = format!("{STEP}{:09}", snapshot.step);
    let target = dir.join(&name);
    if !Stored::open(&target).is_ok_and(|old| *old.manifest() == manifest && old.verify().is_ok()) {
        files.push((MANIFEST, manifest.to_bytes()));
        make_durable(dir)?;
        let writing = dir.join(format!("{WRITING}{name}"));
        // What went wrong is worth telling, not that the rubbish stayed as well: the next sweep takes it.
        write_folder(&writing, &files).inspect_err(|_| drop(fs::remove_dir_all(&writing)))?;
        publish(dir, &name, &writing)?;
    }
    point(dir, LATEST, &name)?;
    Ok(target)
}

/// Makes the folder `dir`, so that it survives a crash of the machine.
fn make_durable(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

fn write_folder(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    remove(folder)?;
    fs::create_dir(folder).map_err(Error::io(folder))?;
    for (name, bytes) in files {
        write_file(&folder.join(name), bytes)?;
    }
    sync(folder)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io(path))
}

/// Gives the written folder its name. One of that name that is there already is kept until the new one is in
/// its place: see [`sweep`].
fn publish(dir: &Path, name: &str, writing: &Path) -> Result<()> {
    let (target, replaced) = (dir.join(name), dir.join(format!("{REPLACED}{name}")));
    if target.exists() {
        remove(&replaced)?;
        fs::rename(&target, &replaced).map_err(Error::io(&target))?;
    }
    fs::rename(writing, &target).map_err(Error::io(&target))?;
    sync(dir)?;
    remove(&replaced)
}

/// Makes the file `pointer` hold `name`, replacing it at once.
pub(super) fn point(dir: &Path, pointer: &str, name: &str) -> Result<()> {
    let (file, writing) = (dir.join(pointer), dir.join(format!("{WRITING}{pointer}")));
    remove(&writing)?;
    write_file(&writing, format!("{name}\n").as_bytes())?;
    fs::rename(&writing, &file).map_err(Error::io(&file))?;
    sync(dir)
}

/// Syncs a folder's list of names.
pub(super) fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir))
}

/// Removes a file or folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a checkpoint, so that nobody ever sees a part of it.
pub(super) fn delete(dir: &Path, name: &str) -> Result<()> {
    let (path, deleting) = (dir.join(name), dir.join(format!("{DELETING}{name}")));
    remove(&deleting)?;
    fs::rename(&path, &deleting).map_err(Error::io(&path))?;
    remove(&deleting)
}

/// Clears what a writer that died left in `dir`, and puts back a checkpoint that it had only begun to replace.
/// To be called by the one writer before it writes.
///
/// # Errors
/// [`Error::Io`].
pub fn sweep(dir: &Path) -> Result<()> {
    for name in names(dir)? {
        let path = dir.join(&name);
        match name.strip_prefix(REPLACED).map(|name| dir.join(name)).filter(|target| !target.exists()) {
            Some(target) => fs::rename(&path, &target).map_err(Error::io(&path))?,
            None if [WRITING, REPLACED, DELETING].iter().any(|prefix| name.starts_with(prefix)) => remove(&path)?,
            None => {}
        }
    }
    Ok(())
}

/// The names in a folder; none when it does not exist.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(dir))?,
    };
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry.map_err(Error::io(dir))?.file_name().to_string_lossy().into());
    entries.map(name).collect()
}

/// The folder names of the checkpoints in `dir`, newest first.
pub(super) fn newest_first(dir: &Path) -> Result<Vec<String>> {
    let step = |name: &String| name.strip_prefix(STEP)?.parse::<u64>().ok();
    let mut found: Vec<(u64, String)> = names(dir)?.into_iter().filter_map(|name| Some((step(&name)?, name))).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// A checkpoint that cannot be used.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it, naming the file.
    pub cause: String,
}

/// What [`newest_healthy`] saw.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The newest checkpoint that is wholly in order.
    pub found: Option<PathBuf>,
    /// Newer ones, newest first, that are not.
    pub rejected: Vec<Rejected>,
}

/// Finds the newest checkpoint in `dir` whose files all have the length and checksum that its manifest states.
/// A folder that does not exist holds none.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed.
pub fn newest_healthy(dir: &Path) -> Result<Search> {
    let mut search = Search::default();
    for path in newest_first(dir)?.into_iter().map(|name| dir.join(name)) {
        match verify(&path) {
            Ok(()) => {
                search.found = Some(path);
                break;
            }
            Err(error) => search.rejected.push(Rejected { path, cause: error.to_string() }),
        }
    }
    Ok(search)
}

/// Checks a checkpoint's manifest and files.
pub(super) fn verify(path: &Path) -> Result<()> {
    Stored::open(path)?.verify()
}
