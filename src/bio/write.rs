//! Backbones as PDB and mmCIF files: the Cα atoms of one chain, `A`, numbered from 1, of alanines.

use std::fs::Permissions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::files::refuse_existing;
use crate::geometry::Point;
use crate::{Error, Result};

/// The largest residue number that a PDB file can hold.
const MAX_PDB_NUMBER: usize = 9999;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns of the PDB: at most 9999 residues, coordinates between −999.999 and 9999.999 Å.
    Pdb,
    /// mmCIF.
    Mmcif,
}

impl Format {
    /// The ending of its files' names.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Pdb => "pdb",
            Format::Mmcif => "cif",
        }
    }
}

/// Writes a backbone to a file that appears whole or not at all; `name` becomes its title.
///
/// # Errors
/// [`Error::Config`] when the file exists and is not to be replaced, [`Error::Data`] when a position is not finite or
/// does not fit the form, [`Error::Io`] when the operating system refuses.
pub fn save(path: &Path, format: Format, name: &str, positions: &[Point], overwrite: bool) -> Result<()> {
    refuse_existing(path, overwrite)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    // Readable as any new file is, not for the owner alone as temporary files are.
    let mut builder = tempfile::Builder::new();
    let file = builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder).map_err(Error::io(folder))?;
    let mut file: BufWriter<NamedTempFile> = BufWriter::new(file);
    let written = match format {
        Format::Pdb => write_pdb(&mut file, name, positions),
        Format::Mmcif => write_mmcif(&mut file, name, positions),
    };
    written.map_err(|error| match error {
        Error::Io { source, .. } => Error::io(path)(source),
        other => other,
    })?;
    let file = file.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    let named = if overwrite { file.persist(path) } else { file.persist_noclobber(path) };
    named.map(drop).map_err(|e| Error::io(path)(e.error))
}

/// Writes a backbone, positions in Å, in the columns of the PDB; `name` becomes its title.
///
/// # Errors
/// [`Error::Data`] when a position does not fit its columns or there are too many residues, [`Error::Io`] when writing
/// fails.
pub fn write_pdb(out: &mut impl Write, name: &str, positions: &[Point]) -> Result<()> {
    if positions.len() > MAX_PDB_NUMBER {
        let n = positions.len();
        return Err(refused(name, format!("{n} residues; a PDB file holds {MAX_PDB_NUMBER}, write mmCIF")));
    }
    let mut text = format!("TITLE     {}\n", printable(name).chars().take(70).collect::<String>());
    for (i, position) in positions.iter().enumerate() {
        check_finite(name, i, position)?;
        let coordinates = position.map(|x| format!("{x:8.3}"));
        if let Some(wide) = coordinates.iter().find(|coordinate| coordinate.len() > 8) {
            let what =
                format!("residue {}: {} Å does not fit the columns of a PDB file, write mmCIF", i + 1, wide.trim());
            return Err(refused(name, what));
        }
        let (n, [x, y, z]) = (i + 1, coordinates);
        text += &format!("ATOM  {n:>5}  CA  ALA A{n:>4}    {x}{y}{z}  1.00  0.00           C  \n");
    }
    let n = positions.len();
    if n > 0 {
        text += &format!("TER   {:>5}      ALA A{n:>4}\n", n + 1);
    }
    out.write_all((text + "END\n").as_bytes()).map_err(Error::io(name))
}

/// Writes a backbone, positions in Å, as mmCIF; `name` becomes its title.
///
/// # Errors
/// [`Error::Data`] when a position is not finite, [`Error::Io`] when writing fails.
pub fn write_mmcif(out: &mut impl Write, name: &str, positions: &[Point]) -> Result<()> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let block: String = name.chars().map(plain).collect();
    let block = if block.is_empty() { "backbone".to_string() } else { block };
    let title = printable(name).replace('\'', "_");
    let mut text = format!("data_{block}\n_entry.id {block}\n_struct.entry_id {block}\n_struct.title '{title}'\n#\n");
    text += "loop_\n_entity.id\n_entity.type\n1 polymer\n#\nloop_\n_struct_asym.id\n_struct_asym.entity_id\nA 1\n#\nloop_\n";
    let columns = [
        "group_PDB",
        "id",
        "type_symbol",
        "label_atom_id",
        "label_alt_id",
        "label_comp_id",
        "label_asym_id",
        "label_entity_id",
        "label_seq_id",
        "pdbx_PDB_ins_code",
        "Cartn_x",
        "Cartn_y",
        "Cartn_z",
        "occupancy",
        "B_iso_or_equiv",
        "auth_seq_id",
        "auth_asym_id",
        "auth_comp_id",
        "auth_atom_id",
        "pdbx_PDB_model_num",
    ];
    columns.iter().for_each(|column| text += &format!("_atom_site.{column}\n"));
    for (i, position) in positions.iter().enumerate() {
        check_finite(name, i, position)?;
        let (n, [x, y, z]) = (i + 1, position);
        text += &format!("ATOM {n} C CA . ALA A 1 {n} ? {x:.3} {y:.3} {z:.3} 1.00 0.00 {n} A ALA CA 1\n");
    }
    out.write_all((text + "#\n").as_bytes()).map_err(Error::io(name))
}

fn check_finite(name: &str, i: usize, position: &Point) -> Result<()> {
    match position.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(refused(name, format!("residue {} is at {position:?}", i + 1))),
    }
}

fn refused(name: &str, what: String) -> Error {
    Error::Data(format!("{name}: {what}"))
}

/// A name on one line of ASCII.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::read_bytes;
    use super::*;

    fn backbone(n: usize) -> Vec<Point> {
        (0..n).map(|i| [3.8 * i as f64 - 999.0, (i as f64).sin(), -0.0004]).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for n in [1, 5, 300] {
            let positions = backbone(n);
            let (mut pdb, mut cif) = (Vec::new(), Vec::new());
            write_pdb(&mut pdb, "a 'b' é", &positions).unwrap();
            write_mmcif(&mut cif, "a 'b' é", &positions).unwrap();
            for file in [pdb, cif] {
                let entry = read_bytes(&file).unwrap();
                let chain = &entry.chains[0];
                assert_eq!((entry.chains.len(), &chain.id[..], chain.len()), (1, "A", n));
                assert_eq!(chain.sequence, "A".repeat(n));
                assert!(chain.numbers.iter().copied().eq(1..=n as i32));
                for (found, expected) in chain.positions.iter().zip(&positions) {
                    (0..3).for_each(|k| assert!((found[k] - expected[k]).abs() <= 5.0001e-4));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let write = |positions: &[Point]| write_pdb(&mut Vec::new(), "x", positions).map_err(|e| e.to_string());
        write(&[[9999.999, -999.999, 0.0]]).unwrap();
        for bad in [-1000.0, 10_000.0, -999.9996, 9999.9996] {
            let message = write(&[[0.0, bad, 0.0]]).unwrap_err();
            assert!(message.contains("x: residue 1:") && message.contains("does not fit"), "{message}");
            write_mmcif(&mut Vec::new(), "x", &[[0.0, bad, 0.0]]).unwrap();
        }
        assert!(write(&[[0.0, f64::NAN, 0.0]]).unwrap_err().contains("residue 1 is at"));
        assert!(write_mmcif(&mut Vec::new(), "x", &[[f64::INFINITY; 3]]).is_err());
        write(&vec![[0.0; 3]; 9999]).unwrap();
        assert!(write(&vec![[0.0; 3]; 10_000]).unwrap_err().contains("write mmCIF"));
    }

    #[test]
    fn files_appear_whole_and_are_not_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/x.pdb");
        save(&path, Format::Pdb, "x", &backbone(4), false).unwrap();
        assert!(matches!(save(&path, Format::Pdb, "x", &backbone(5), false), Err(Error::Config(_))));
        save(&path, Format::Pdb, "x", &backbone(5), true).unwrap();
        assert_eq!(super::super::read(&path).unwrap().chains[0].len(), 5);
        let bad = dir.path().join("bad.cif");
        assert!(matches!(save(&bad, Format::Mmcif, "x", &[[f64::NAN; 3]], false), Err(Error::Data(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }
}
