//! The backbones to evaluate: every chain of every file.

use std::path::{Path, PathBuf};

use super::steps::Backbone;
use crate::bio;
use crate::files::walk;
use crate::geometry::Point;
use crate::{Error, Result};

/// A chain of a file, or a file that gave none.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The file, as it was named or found.
    pub file: PathBuf,
    /// The chain's id; empty of a file that gave none.
    pub chain: String,
    /// The chain, or why there is none.
    pub backbone: Result<Backbone, String>,
}

/// Reads files and folders of files, these by name; what lies in `out`, where this program's own structures are, is passed
/// over.
///
/// # Errors
/// [`Error::Io`] for a path that does not exist. A file that cannot be read is a subject with a reason.
pub(super) fn read(paths: &[PathBuf], out: &Path, key: impl Fn(&[Point]) -> String) -> Result<Vec<Subject>> {
    let mut files = Vec::new();
    for path in paths {
        match std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            true => walk(path, &mut files)?,
            false => files.push(path.clone()),
        }
    }
    files.retain(|file| !file.canonicalize().is_ok_and(|file| file.starts_with(out)));
    Ok(files.iter().flat_map(|file| subjects(file, &key)).collect())
}

fn subjects(file: &Path, key: &impl Fn(&[Point]) -> String) -> Vec<Subject> {
    let subject = |chain: String, backbone| Subject { file: file.to_path_buf(), chain, backbone };
    let chains = match bio::read(file) {
        Ok(entry) if entry.chains.is_empty() => return vec![subject(String::new(), Err("no protein chain".into()))],
        Ok(entry) => entry.chains,
        Err(error) => return vec![subject(String::new(), Err(error.one_line()))],
    };
    let of_chain = |chain: bio::Chain| {
        let origin = format!("{} {}", file.display(), chain.id);
        let positions = chain.positions;
        // What the inverse-folding command is given is a PDB file.
        let backbone = bio::write_pdb(&mut std::io::sink(), "backbone", &positions).map_err(|error| error.one_line());
        subject(chain.id, backbone.map(|()| Backbone { key: key(&positions), origin, positions }))
    };
    chains.into_iter().map(of_chain).collect()
}
