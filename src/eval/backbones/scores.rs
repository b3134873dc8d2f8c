//! scRMSD of samples, as `qsd-eval designability` wrote them.

use std::collections::HashMap;
use std::path::Path;

use super::chains::Backbone;
use crate::{Error, Result};

/// Below this scRMSD in Å a backbone is designable.
pub const DESIGNABLE: f64 = 2.0;

/// A chain: the name of its file without the folder, and its id.
type ChainName = (String, String);

/// Gives each chain its scRMSD, if the table has one; where the files lay is not looked at.
///
/// # Errors
/// [`Error::Data`] when the table lacks a column, has a number that is none, has a chain twice, or knows no chain at all;
/// [`Error::Io`].
pub(super) fn join(path: &Path, chains: &mut [Backbone]) -> Result<()> {
    let known = read(path)?;
    let mut found = 0;
    for chain in chains.iter_mut() {
        if let Some(sc_rmsd) = known.get(&(base_name(&chain.file), chain.chain.clone())) {
            chain.sc_rmsd = *sc_rmsd;
            found += 1;
        }
    }
    match (found, chains.first()) {
        (0, Some(first)) => {
            let (path, file) = (path.display(), &first.file);
            Err(Error::Data(format!("{path}: no row is of a sample, such as {file} chain {:?}", first.chain)))
        }
        _ => Ok(()),
    }
}

/// The rows of a table; nothing where the chain could not be judged.
fn read(path: &Path) -> Result<HashMap<ChainName, Option<f64>>> {
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => Error::io(path)(error),
        other => Error::Data(format!("{}: {:?}", path.display(), other)),
    };
    let mut table = csv::Reader::from_path(path).map_err(failed)?;
    let heads = table.headers().map_err(failed)?.clone();
    let column = |name: &str| {
        heads.iter().position(|head| head == name).ok_or_else(|| {
            let expected = "expected designability.csv as `qsd-eval designability` writes it";
            Error::Data(format!("{}: no column {name}; {expected}", path.display()))
        })
    };
    let (file, chain, sc_rmsd) = (column("file")?, column("chain")?, column("sc_rmsd")?);
    let mut rows = HashMap::new();
    for (k, row) in table.records().enumerate() {
        let row = row.map_err(failed)?;
        let (name, text) = ((base_name(&row[file]), row[chain].to_string()), &row[sc_rmsd]);
        let wrong = |what: String| Error::Data(format!("{}: record {}: {what}", path.display(), k + 1));
        let value = match text {
            "" => None,
            number => match number.parse::<f64>() {
                Ok(value) if value >= 0.0 => Some(value),
                _ => return Err(wrong(format!("sc_rmsd {number:?}: expected a length in Å"))),
            },
        };
        if rows.insert(name, value).is_some() {
            return Err(wrong(format!("{} chain {:?} was there before", &row[file], &row[chain])));
        }
    }
    Ok(rows)
}

fn base_name(file: &str) -> String {
    Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
