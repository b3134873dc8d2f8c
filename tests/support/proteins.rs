//! Structure files as tests need them, written here: an α helix and whatever files do to it.
#![allow(dead_code)] // each test program uses a part

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The names of residues that a helix takes one after the other, and their letters.
pub const CYCLE: [(&str, char); 7] =
    [("ALA", 'A'), ("LEU", 'L'), ("LYS", 'K'), ("GLU", 'E'), ("GLY", 'G'), ("TRP", 'W'), ("SER", 'S')];

/// The Cα of residue `i` of an ideal α helix in Å: 100° and 1.5 Å a residue, so that neighbours are 3.8 Å apart.
pub fn ca(i: usize) -> [f64; 3] {
    let angle = (100.0 * i as f64).to_radians();
    [2.3 * angle.cos(), 2.3 * angle.sin(), 1.5 * i as f64]
}

/// One atom of a file.
#[derive(Clone, Debug)]
pub struct Atom {
    pub hetero: bool,
    pub name: &'static str,
    pub alternate: char,
    pub residue: String,
    pub chain: String,
    pub number: i32,
    pub insertion: char,
    pub position: [f64; 3],
    pub occupancy: f64,
    pub b_factor: f64,
    pub model: usize,
}

impl Atom {
    /// A line of a PDB file.
    pub fn pdb(&self, serial: usize) -> String {
        let record = if self.hetero { "HETATM" } else { "ATOM  " };
        let [x, y, z] = self.position;
        format!(
            "{record}{serial:>5} {:<4}{}{:>3}{:>2}{:>4}{}   {x:>8.3}{y:>8.3}{z:>8.3}{:>6.2}{:>6.2}          {:>2}  \n",
            if self.name.len() < 4 { format!(" {}", self.name) } else { self.name.to_string() },
            self.alternate,
            self.residue,
            self.chain,
            self.number,
            self.insertion,
            self.occupancy,
            self.b_factor,
            &self.name[..1],
        )
    }

    /// A row of `_atom_site` with the columns of [`CIF_COLUMNS`].
    pub fn cif(&self, serial: usize) -> String {
        let or = |c: char, none: char| if c == ' ' { none } else { c };
        let [x, y, z] = self.position;
        let group = if self.hetero { "HETATM" } else { "ATOM" };
        format!(
            "{group} {serial} {} {} {} A 1 {} {x:.3} {y:.3} {z:.3} {:.2} {:.2} {} {} {}\n",
            self.name,
            or(self.alternate, '.'),
            self.residue,
            or(self.insertion, '?'),
            self.occupancy,
            self.b_factor,
            self.number,
            self.chain,
            self.model,
        )
    }
}

/// The columns of [`Atom::cif`].
pub const CIF_COLUMNS: &str = "group_PDB id label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id \
                               pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id \
                               auth_asym_id pdbx_PDB_model_num";

/// A helix of `n` residues, numbered from `first`: N, CA and C of each.
pub fn helix(chain: &str, first: i32, n: usize) -> Vec<Atom> {
    let residue = |i: usize| {
        let atom = |name, shift: f64| Atom {
            hetero: false,
            name,
            alternate: ' ',
            residue: CYCLE[i % 7].0.to_string(),
            chain: chain.to_string(),
            number: first + i as i32,
            insertion: ' ',
            position: [ca(i)[0] + shift, ca(i)[1], ca(i)[2] + shift],
            occupancy: 1.0,
            b_factor: 80.0 + (i % 10) as f64,
            model: 1,
        };
        [atom("N", -0.9), atom("CA", 0.0), atom("C", 0.9)]
    };
    (0..n).flat_map(residue).collect()
}

/// The sequence of a helix.
pub fn letters(n: usize) -> String {
    (0..n).map(|i| CYCLE[i % 7].1).collect()
}

/// The lines of atoms in a PDB file.
pub fn pdb(atoms: &[Atom]) -> String {
    atoms.iter().enumerate().map(|(i, atom)| atom.pdb(i + 1)).collect()
}

/// A PDB file: header, atoms, end.
pub fn pdb_file(id: &str, atoms: &[Atom]) -> String {
    let head = format!("HEADER    TEST{}{id:<4}\nEXPDTA    X-RAY DIFFRACTION\n", " ".repeat(48));
    format!("{head}REMARK   2 RESOLUTION.    1.80 ANGSTROMS.\n{}TER\nEND\n", pdb(atoms))
}

/// An mmCIF file.
pub fn cif_file(id: &str, atoms: &[Atom]) -> String {
    let columns: String = CIF_COLUMNS.split_whitespace().map(|name| format!("_atom_site.{name}\n")).collect();
    let rows: String = atoms.iter().enumerate().map(|(i, atom)| atom.cif(i + 1)).collect();
    format!(
        "data_{id}\n_entry.id {id}\n_exptl.method 'ELECTRON MICROSCOPY'\n_em_3d_reconstruction.resolution 3.20\n\
         _struct.title\n;a title with 'quotes'\nand two lines\n;\nloop_\n{columns}{rows}#\n"
    )
}

/// Packs by gzip.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
