//! The chains to judge: of structure files, or of a data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;

use super::shape::{Shape, shape};
use super::structure::{Structure, secondary_structure};
use super::summary::Summary;
use super::variety::Nearest;
use crate::cli::Progress;
use crate::data::Dataset;
use crate::files::walk;
use crate::geometry::Point;
use crate::{Error, Result, bio};

/// The endings of structure files' names, without that of gzip; of files that differ in nothing else the first is read.
const ENDINGS: [&str; 4] = [".pdb", ".ent", ".cif", ".mmcif"];
/// Chains measured between two looks at the clock.
const CHUNK: usize = 256;
/// Least time between two lines of progress.
const EVERY: Duration = Duration::from_secs(10);

/// A chain and what is measured of it alone.
#[derive(Clone, Debug)]
pub struct Backbone {
    /// The file, by its path in the folder; of a data set the chain's key.
    pub file: String,
    /// The chain's id; empty where there is none.
    pub chain: String,
    /// Positions of the Cα atoms in Å, of samples alone; a reference's are not kept.
    pub positions: Vec<Point>,
    /// Its geometry.
    pub shape: Shape,
    /// Its secondary structure, residue by residue.
    pub structure: Vec<Structure>,
    /// Mean TM-score with the other samples of its length, if there are any and they were compared.
    pub mean_tm: Option<f64>,
    /// The cluster it belongs to, from 1, the largest first.
    pub cluster: Option<usize>,
    /// The known chain that it is most like, if that was asked for.
    pub nearest: Option<Nearest>,
    /// The least RMSD in Å to what its sequences are predicted to fold into, if it is known.
    pub sc_rmsd: Option<f64>,
}

impl Backbone {
    fn new(file: String, chain: String, positions: Vec<Point>) -> Self {
        let (shape, structure) = (shape(&positions), secondary_structure(&positions));
        let (mean_tm, cluster, nearest, sc_rmsd) = (None, None, None, None);
        Backbone { file, chain, positions, shape, structure, mean_tm, cluster, nearest, sc_rmsd }
    }
}

/// A file that gave no chain, or a chain that could not be compared.
#[derive(Clone, Debug, Serialize)]
pub struct Unreadable {
    /// The file, by its path in the folder, and the chain.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// Chains that belong together: the samples, or what they are compared with.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name in tables.
    pub name: String,
    /// The chains, in the order of the files or of the data set.
    pub chains: Vec<Backbone>,
    /// Files that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Chains that have no TM-score.
    pub incomparable: Vec<Unreadable>,
    /// Files that were left out because another has the same name but for its ending.
    pub twins: usize,
}

impl Set {
    /// The chains of all structure files of a folder and the folders in it, or of one file.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no structure file, or none that can be read; [`Error::Io`] when there is no folder.
    pub fn read(name: &str, path: &Path) -> Result<Self> {
        let StructureFiles { root, files, twins } = structure_files(path)?;
        let shown = |file: &Path| file.strip_prefix(&root).unwrap_or(file).display().to_string();
        let read = |file: &PathBuf| match bio::read(file) {
            Ok(entry) if entry.chains.is_empty() => Err(Unreadable::new(shown(file), "no protein chain".into())),
            Ok(entry) => Ok(entry
                .chains
                .into_iter()
                .map(|chain| Backbone::new(shown(file), chain.id, chain.positions))
                .collect()),
            Err(error) => Err(Unreadable::new(shown(file), reason(&error, file))),
        };
        let found = in_chunks(name, &files, |file| Ok(read(file)))?;
        let mut set =
            Set { name: name.into(), chains: Vec::new(), unreadable: Vec::new(), incomparable: Vec::new(), twins };
        for file in found {
            match file {
                Ok(chains) => set.chains.extend::<Vec<Backbone>>(chains),
                Err(unreadable) => set.unreadable.push(unreadable),
            }
        }
        match (set.chains.is_empty(), set.unreadable.first()) {
            (true, Some(Unreadable { file, reason })) => {
                let n = files.len();
                Err(Error::Data(format!("{}: none of {n} files has a chain; {file}: {reason}", path.display())))
            }
            _ => Ok(set),
        }
    }

    /// The chains of a split of a data set.
    ///
    /// # Errors
    /// [`Error::Data`] when it is damaged, of molecules, or has no such split.
    pub fn of_data(path: &Path, split: &str) -> Result<Self> {
        let dataset = Dataset::open(path, false)?;
        let name = format!("{}, {split}", dataset.manifest().name);
        let split = dataset.split(split)?;
        let indices: Vec<usize> = (0..split.len()).collect();
        let chains = in_chunks(&name, &indices, |&i| {
            let record = split.chain(i)?;
            let positions = record.points(0..record.num_residues())?;
            Ok(Backbone::new(record.key().into(), String::new(), positions))
        })?;
        match chains.is_empty() {
            true => Err(Error::Data(format!("{}: split {} is empty", path.display(), split.name()))),
            false => Ok(Set { name, chains, unreadable: Vec::new(), incomparable: Vec::new(), twins: 0 }),
        }
    }

    /// The set without the positions, for those that are only compared in numbers.
    pub fn without_positions(mut self) -> Self {
        self.chains.iter_mut().for_each(|chain| chain.positions = Vec::new());
        self
    }

    /// What its chains that `belongs` takes say together.
    pub fn summary(&self, belongs: impl Fn(&Backbone) -> bool + Clone) -> Summary {
        let chains = self.chains.iter().filter(|chain| belongs(chain));
        Summary::of(chains.map(|chain| (&chain.shape, &chain.structure[..])))
    }
}

impl Unreadable {
    fn new(file: String, reason: String) -> Self {
        Unreadable { file, reason }
    }
}

/// What is wrong with a file, without its name.
fn reason(error: &Error, file: &Path) -> String {
    let (text, name) = (error.one_line(), file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    text.strip_prefix(&format!("{name}: ")).unwrap_or(&text).to_string()
}

/// Measures by all cores, in order, and shows how far it is if it takes long.
fn in_chunks<T: Sync, R: Send>(name: &str, items: &[T], measure: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let mut progress = match items.len() > CHUNK {
        true => Progress::stderr(0, items.len() as u64, EVERY),
        false => Progress::silent(),
    };
    let mut measured = Vec::new();
    for chunk in items.chunks(CHUNK) {
        measured.extend(chunk.par_iter().map(&measure).collect::<Result<Vec<R>>>()?);
        progress.update(measured.len() as u64, name);
    }
    progress.finish(items.len() as u64, name);
    Ok(measured)
}

/// The structure files at a path.
pub(super) struct StructureFiles {
    /// What their names are relative to.
    root: PathBuf,
    /// The files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// How many others have the same name as one of them but for their endings.
    twins: usize,
}

/// The structure files of a folder and the folders in it, or the one file that a path is.
pub(super) fn structure_files(path: &Path) -> Result<StructureFiles> {
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
        let root = path.parent().unwrap_or(Path::new("")).to_path_buf();
        return Ok(StructureFiles { root, files: vec![path.to_path_buf()], twins: 0 });
    }
    let mut found = Vec::new();
    walk(path, &mut found)?;
    let mut by_stem: BTreeMap<PathBuf, (usize, PathBuf)> = BTreeMap::new();
    let mut named = 0;
    for file in found {
        let Some((stem, rank)) = stem(&file) else { continue };
        named += 1;
        let first = by_stem.entry(stem).or_insert((rank, file.clone()));
        if rank < first.0 {
            *first = (rank, file);
        }
    }
    if by_stem.is_empty() {
        let endings = ENDINGS.join(", ");
        return Err(Error::Data(format!("{}: no structure files ({endings}, plain or .gz)", path.display())));
    }
    let twins = named - by_stem.len();
    let files = by_stem.into_values().map(|(_, file)| file).collect();
    Ok(StructureFiles { root: path.to_path_buf(), files, twins })
}

/// A structure file's path without its endings, and how far back these stand in the list; `None` of other files.
fn stem(path: &Path) -> Option<(PathBuf, usize)> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let (plain, packed) = name.strip_suffix(".gz").map_or((&name[..], 0), |plain| (plain, 1));
    let rank = ENDINGS.iter().position(|ending| plain.ends_with(ending))?;
    let unpacked = if packed == 1 { path.with_extension("") } else { path.to_path_buf() };
    Some((unpacked.with_extension(""), 2 * rank + packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_files_by_their_names() {
        for (name, expected) in [
            ("a/x.pdb", Some(("a/x", 0))),
            ("a/x.pdb.gz", Some(("a/x", 1))),
            ("x.CIF", Some(("x", 4))),
            ("1.2.mmcif.gz", Some(("1.2", 7))),
            ("report.md", None),
            ("pdb", None),
        ] {
            let expected = expected.map(|(stem, rank)| (PathBuf::from(stem), rank));
            assert_eq!(stem(Path::new(name)), expected, "{name}");
        }
    }
}
